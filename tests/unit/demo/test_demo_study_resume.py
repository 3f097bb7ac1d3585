"""A run of the study that is killed goes on after its last round, and finds what it would have found."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo import study_runs
from demo.cohort import SITES, write_cohort
from demo.recipe import STUDY, Recipe, cohorts
from demo.study_runs import RUNS, Job, Training, encode, experts_of, run
from privacy.experts import EXPERTS

pytestmark = pytest.mark.nightly  # forty seconds of a core

RUN = "pooled"


class KilledError(Exception):
    """In the place of SIGKILL."""


def small() -> Recipe:
    """Six patients a hospital; two rounds of SFT and two of GRPO, a step each."""
    stages = tuple(
        replace(stage, rounds=2, mechanism=replace(stage.mechanism, steps=1, noise_multiplier=0.0))
        for stage in STUDY.stages
    )
    return replace(STUDY, patients=6, public_patients=2, stages=stages)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A small run, its cohorts drawn and encoded."""
    recipe = small()
    monkeypatch.setattr(Training, "recipe", lambda self: recipe)
    monkeypatch.setattr(study_runs, "STUDY", recipe)
    work = tmp_path / "work"
    (tmp_path / "found").mkdir()
    for cohort in cohorts(work / "data" / "5", recipe, 5):
        write_cohort(cohort, os.cpu_count() or 1, lambda done, of: None)
    for name, experts in (
        {site.name: experts_of(site) for site in SITES} | {"public": list(EXPERTS)}
    ).items():
        encode(work / "data" / "5" / name, experts)
    return Job(RUN, 5, tmp_path / "found", work)


def test_a_run_that_was_killed_finds_the_same(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a round that is trained twice or not at all, one with other draws than its own, and rewards counted twice."""
    assert RUN in RUNS
    run(job)
    whole = _found(job)
    job.file.unlink()
    trained = study_runs.train_stage
    rounds: list[int] = []

    def killed_in_the_third(*given: Any) -> Any:
        rounds.append(given[5])
        state = trained(*given)
        if rounds == [1, 2, 3]:
            raise KilledError  # when it has rewards, and is not kept yet
        return state

    monkeypatch.setattr(study_runs, "train_stage", killed_in_the_third)
    with pytest.raises(KilledError):
        run(job)
    assert job.under_way.exists()
    assert not job.file.exists()
    run(job)
    assert rounds == [1, 2, 3, 3, 4]
    assert _found(job) == whole
    assert not job.under_way.exists()


def _found(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(job.file.read_bytes()))
    del found["seconds"]
    assert found["rewards"]
    return found

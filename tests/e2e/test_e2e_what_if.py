"""`python -m demo.what_if`, small: more hospitals than a process keeps open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from client.simulation import AGENTS
from demo.recipe import DELTA, events
from demo.what_if import recipe, run
from privacy.accounting import epsilon

pytestmark = [pytest.mark.nightly, pytest.mark.e2e, pytest.mark.timeout(1800)]


def test_hospitals_are_drawn_trained_and_told_of(tmp_path: Path) -> None:
    """Catches a study in which not all take part, that pays no ledger, or whose agents are lost when others are opened."""
    asked = recipe(patients=5, rounds=2, public_patients=1)
    (stage,) = asked.stages
    asked = replace(asked, stages=(replace(stage, mechanism=replace(stage.mechanism, steps=2)),))
    found = run(tmp_path, asked, AGENTS + 1, 1, Console())
    assert [row["contributors"] for row in found["rounds"]] == [AGENTS + 1] * 2
    assert set(found["epsilon"].values()) == {epsilon(events(asked), DELTA)}
    assert {(row["scale"], row["task"]) for row in found["scores"]} >= {("roi", "vqa"), ("wsi", "vqa")}
    assert found["peak_memory_mib"] > 100
    assert (tmp_path / "result.json").exists()

"""What the smaller studies share: hospitals dealt from the study's sites, a part of the public patients, jobs that resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from rich.progress import Progress

from client.model.base import Base
from client.model.experts import Experts
from demo.arms import Hospital, State
from demo.cohort import SITES
from demo.experiment import ask, deal, results
from demo.study_runs import experts_of, open_encoded
from demo.study_table import Arm, Results
from privacy.experts import EXPERTS

SEED = 11
STUDY_WORK = Path("build/study")
DATA = STUDY_WORK / "data" / str(SEED)
_ARMS = "arms"
_PUBLIC = 400  # public patients that are asked


class Job(Protocol):
    """What is done once, and leaves a file."""

    @property
    def file(self) -> Path:
        """There once it is done."""
        ...


_J = TypeVar("_J", bound=Job)


def run_missing(
    pool: ProcessPoolExecutor, bar: Progress, what: str, do: Callable[[_J], None], jobs: Sequence[_J]
) -> None:
    """Does the jobs whose files are not there, and shows how far they have come."""
    working = bar.add_task(what, total=len(jobs))
    missing = [job for job in jobs if not job.file.exists()]
    bar.advance(working, len(jobs) - len(missing))
    for future in as_completed([pool.submit(do, job) for job in missing]):
        future.result()
        bar.advance(working)


def hospitals_of(site: str, parts: int, patients: int, base: Base) -> list[Hospital]:
    """The hospitals "<site>-1", "<site>-2", ...: the site's first `patients` patients, dealt in turn, and opened once."""
    whole = open_encoded(DATA / site, base, experts_of(next(one for one in SITES if one.name == site)))
    return deal(whole, parts, patients)


def write_scores(file: Path, experts: Experts, state: State, *, scale_experts: bool) -> None:
    """Asks public patients directly, with these states; their rows go to a file, whole."""
    public = open_encoded(DATA / "public", experts.base, EXPERTS)
    patients = sorted({s.patient for s in public.samples})
    some = set(patients[:: max(1, len(patients) // _PUBLIC)])
    public = replace(public, samples=[s for s in public.samples if s.patient in some])
    part = file.with_suffix(".part")
    part.write_text(json.dumps(ask(experts, state, public, scale_experts=scale_experts)) + "\n")
    part.replace(file)


def results_of(base: Path, files: Mapping[str, Path]) -> Results:
    """Scores that were written, as results of two runs: the base, and one whose forms are the arms (`arm`)."""
    forms = {name: json.loads(file.read_text()) for name, file in files.items()}
    return results(json.loads(base.read_text()), {_ARMS: forms}, SEED)


def arm(name: str) -> Arm:
    """The arm of that name in `results_of`."""
    return Arm((_ARMS,), name)

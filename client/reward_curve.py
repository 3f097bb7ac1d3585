"""The learning curve of GRPO: mean reward by campaign, round, step and task, in a private file of the home.

Rewards are figures of the hospital's own patients. They are written here (0600) for `fedpath-hospital curve`, and
are in no reply, log or status.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from client.errors import HomeError


@dataclass(frozen=True)
class Mark:
    """One step of one round: the mean reward (0 to 1.5) over `rollouts` of one task."""

    campaign: str
    round: int
    step: int
    task: str
    mean: float
    rollouts: int


class RewardCurve:
    """Writes the marks of one round, step by step: `rewarded` for each group, `step` at each step's end."""

    def __init__(self, path: Path, campaign: str, number: int) -> None:
        self._path, self._campaign, self._number = path, campaign, number
        self._rewards: dict[str, list[float]] = {}

    def rewarded(self, task: str, rewards: Sequence[float]) -> None:
        """A group of rollouts of the step under way had these rewards."""
        self._rewards.setdefault(task, []).extend(rewards)

    def step(self, done: int) -> None:
        """Step `done` has ended: its marks are written. A step that drew nobody has none."""
        marks = [
            Mark(self._campaign, self._number, done, task, sum(rewards) / len(rewards), len(rewards))
            for task, rewards in sorted(self._rewards.items())
        ]
        self._rewards = {}
        if marks:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.writelines(
                    f"\n{json.dumps(asdict(mark))}" for mark in marks
                )  # whatever the last line ends in


def read_marks(path: Path, campaign: str | None = None) -> list[Mark]:
    """The marks of a campaign (None: the one that was trained last) in order of round, step and task.

    Of a step that was taken twice the later one counts; a line that a crash cut short is passed over. Raises
    `HomeError` where there is none.
    """
    marks = [mark for line in _lines(path) if (mark := _mark(line)) is not None]
    if campaign is None and marks:
        campaign = marks[-1].campaign
    kept = {(mark.round, mark.step, mark.task): mark for mark in marks if mark.campaign == campaign}
    if not kept:
        what = "a campaign" if campaign is None else f"campaign {campaign!r}"
        raise HomeError(
            f"{path}: holds no rewards of {what}: they come with GRPO rounds that are trained here"
        )
    return [kept[key] for key in sorted(kept)]


def curves(marks: Sequence[Mark]) -> Mapping[str, list[tuple[int, float]]]:
    """Each task's mean rewards with the step that had them, counted from 1 over all rounds; a step that asked nothing at
    all is not counted, one that did not ask a task is absent from that task's curve.
    """
    number = {at: i for i, at in enumerate(sorted({(mark.round, mark.step) for mark in marks}), 1)}
    found: dict[str, list[tuple[int, float]]] = {}
    for mark in marks:
        found.setdefault(mark.task, []).append((number[mark.round, mark.step], mark.mean))
    return dict(sorted(found.items()))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _mark(line: str) -> Mark | None:
    try:
        mark = Mark(**json.loads(line))
    except (ValueError, TypeError):
        return None
    kinds = {"campaign": str, "round": int, "step": int, "task": str, "mean": float, "rollouts": int}
    return mark if all(type(getattr(mark, name)) is kind for name, kind in kinds.items()) else None

"""Experts' versions as they are shown: what each came from, by round, and how good it was while it stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.lineage import Version

Values = Mapping[str, Any]
Origin = tuple[str, int, str]  # an expert's name, the round that made this version of it, and its hash


@dataclass(frozen=True)
class Scored:
    """The scores at one point of evaluation: each task's name (and scale, for a task's expert) with its mean."""

    point: str
    scores: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Shown:
    """A version: `parent_round` made the one that it was trained from, None at the start; `on` are the versions under it.
    `agreement` is the mean cosine between hospitals' changes in its round; `stands` until another takes its place.
    """

    version: Version
    parent_round: int | None
    on: tuple[Origin, ...]
    scores: tuple[Scored, ...]
    agreement: float | None
    stands: bool


def shown(
    versions: Sequence[Version],
    points: Sequence[Values],
    at: Mapping[str, int],
    agreements: Sequence[Values] = (),
) -> list[Shown]:
    """The versions (oldest first) with all that is known of each. A score counts for the version that stood after the round
    at which it was taken.
    """
    made: dict[tuple[str, str], int] = {}
    for version in versions:
        made[version.expert, version.state] = version.round
    agreed = {(row["expert"], row["number"]): row["cosine"] for row in agreements}
    until: dict[str, int] = {}  # the round that made the next version
    found = []
    for version in reversed(versions):
        end = until.get(version.expert)
        until[version.expert] = version.round
        parent = None if version.parent is None else made[version.expert, version.parent]
        found.append(
            Shown(
                version=version,
                parent_round=parent,
                on=tuple((name, made[name, state], state) for name, state in version.on.items()),
                scores=_scores(version, end, points, at),
                agreement=agreed.get((version.expert, version.round)),
                stands=end is None,
            )
        )
    return found[::-1]


def _scores(
    version: Version, end: int | None, points: Sequence[Values], at: Mapping[str, int]
) -> tuple[Scored, ...]:
    if version.parent is None:  # at the start it is switched off in every evaluation
        return ()
    kind, _, name = version.expert.partition("/")
    by: dict[str, list[tuple[str, float]]] = {}
    for row in points:
        mine = kind in ("scale", "task") and row[kind] == name and not row["further"]
        if mine and version.round <= at[row["point"]] and (end is None or at[row["point"]] < end):
            words = row["task"] if kind == "scale" else f"{row['scale']} {row['task']}"
            by.setdefault(row["point"], []).append((words, row["mean"]))
    return tuple(Scored(point, tuple(found)) for point, found in by.items())

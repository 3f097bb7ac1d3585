"""A campaign's stages: where it stands in them, what is next, and how long the rest takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from privacy import canonical
from server.page.views.words import between

Values = Mapping[str, Any]
Stages = Sequence[tuple[str, int]]  # kind and rounds of each
_LIMIT = 1 << 20


def stages_of(definition: bytes) -> list[tuple[str, int]]:
    """Kind and rounds of each stage, of a campaign's definition as it is kept."""
    found = canonical.decode(definition, _LIMIT)
    return [(stage["kind"], stage["rounds"]) for stage in found["stages"]]


def next_step(stages: Stages, committed: int) -> str:
    """The round that follows so many, in words; empty after the last."""
    before = 0
    for kind, count in stages:
        if committed < before + count:
            return f"{kind} round {committed + 1 - before} of {count}"
        before += count
    return ""


def after_now(stages: Stages, committed: int, doing: str) -> str:
    """The round that comes after what a campaign does now, in words; empty where that is the last."""
    coming = next_step(stages, committed)
    return coming if coming != doing else next_step(stages, committed + 1)


def usual(durations: Sequence[Values]) -> float | None:
    """What a round takes: the median of those that ended, in seconds; None without any."""
    took = [between(row["opened_at"], row["committed_at"]) for row in durations]
    return median(took) if took else None


def time_left(stages: Stages, committed: int, usual_s: Mapping[str, float | None]) -> float | None:
    """Seconds until the last round ends, as far as each remaining stage has shown what it takes; else None."""
    left, skip = 0.0, committed
    for kind, count in stages:
        rest = max(0, count - skip)
        skip = max(0, skip - count)
        took = usual_s.get(kind)
        if rest and took is None:
            return None
        left += rest * (took or 0.0)
    return left


def rounds_at(points: Sequence[str], stages: Stages) -> dict[str, int]:
    """After which round each point of evaluation lies: "base", a stage's name (its end) or "round-" and a number."""
    ends, total = {"base": 0}, 0
    for kind, count in stages:
        total += count
        ends[kind] = total
    found = {}
    for point in points:
        number = point.removeprefix("round-")
        found[point] = ends.get(point, int(number) if number.isdecimal() else total)
    return found

"""A campaign's page: the round under way by hospital, what the scores say so far, and what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from markupsafe import Markup

from pages.charts import Line, Row, Span, line_chart, timeline
from privacy import canonical
from server.page.views.words import Badge, answer_badge, between, meaning

Values = Mapping[str, Any]
_KINDS = ("line", "second", "third")
_LIMIT = 1 << 20


@dataclass(frozen=True)
class AtWork:
    """One hospital in the round under way. `waited` seconds since it was asked, or until it answered."""

    hospital: str
    badge: Badge
    meaning: str
    waited: float
    bytes: int | None


@dataclass(frozen=True)
class UnderWay:
    """The round that is begun: `attempt` counts from 1; `left_s` None where no round of its stage has ended yet."""

    number: int
    stage: str
    attempt: int
    opened_at: str
    answered: int
    asked: int
    left_s: float | None
    hospitals: tuple[AtWork, ...]
    chart: Markup


@dataclass(frozen=True)
class Score:
    """A metric's course over a campaign: the first and the last value with its 95 % interval."""

    scale: str
    task: str
    metric: str
    first: float
    last: float
    low: float
    high: float
    n: int
    point: str


def under_way(opened: Values, asks: Sequence[Values], usual_s: float | None, now: datetime) -> UnderWay:
    """The round `opened`, of whose last attempt are `asks`; `usual_s` is what a round of its stage takes."""
    at, hospitals, rows = now.isoformat(), [], []
    start = min([row["asked_at"] for row in asks], default=opened["opened_at"])
    for row in asks:
        badge, end = answer_badge(row["answer"]), row["answered_at"] or at
        begun, waited = max(0.0, between(start, row["asked_at"])), max(0.0, between(row["asked_at"], end))
        words = "at work" if row["answer"] is None else badge.words
        hospitals.append(AtWork(row["hospital"], badge, meaning(row["answer"] or ""), waited, row["bytes"]))
        rows.append(Row(row["hospital"], (Span(begun, begun + waited, badge.level, words),)))
    past = max(0.0, between(start, at))
    number, stage = opened["number"], opened["stage"]
    return UnderWay(
        number=number,
        stage=stage,
        attempt=opened["attempts"],
        opened_at=opened["opened_at"],
        answered=sum(row["answer"] is not None for row in asks),
        asked=len(asks),
        left_s=None if usual_s is None else max(0.0, usual_s - past),
        hospitals=tuple(hospitals),
        chart=timeline(f"Round {number}: who is at work since when", rows, past),
    )


def usual(durations: Sequence[Values]) -> float | None:
    """What a round takes: the median of those that ended; None without any."""
    took = [between(row["opened_at"], row["committed_at"]) for row in durations]
    return median(took) if took else None


def stages(definition: bytes) -> list[tuple[str, int]]:
    """Kind and rounds of each stage, of a campaign's definition as it is kept."""
    found = canonical.decode(definition, _LIMIT)
    return [(stage["kind"], stage["rounds"]) for stage in found["stages"]]


def time_left(
    stages: Sequence[tuple[str, int]], committed: int, usual_s: Mapping[str, float | None]
) -> float | None:
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


def rounds_at(points: Sequence[str], stages: Sequence[tuple[str, int]]) -> dict[str, int]:
    """After which round each point of evaluation lies: "base", a stage's name (its end) or a number of rounds."""
    ends, total = {"base": 0}, 0
    for kind, count in stages:
        total += count
        ends[kind] = total
    return {point: ends.get(point, int(point) if point.isdecimal() else total) for point in points}


def scores(rows: Sequence[Values]) -> list[Score]:
    """Each metric of a task, its own ones only, from the first evaluation to the last."""
    by: dict[tuple[str, str, str], list[Values]] = {}
    for row in rows:
        if not row["further"]:
            by.setdefault((row["scale"], row["task"], row["metric"]), []).append(row)
    found = []
    for (scale, task, metric), course in by.items():
        last = course[-1]
        figures = last["mean"], last["low"], last["high"], last["n"], last["point"]
        found.append(Score(scale, task, metric, course[0]["mean"], *figures))
    return found


def score_charts(rows: Sequence[Values], at: Mapping[str, int]) -> list[Markup]:
    """The scores over rounds with their intervals, one chart a scale; none where one evaluation is all there is."""
    charts = []
    for scale in sorted({row["scale"] for row in rows}):
        by: dict[str, list[Values]] = {}
        for row in rows:
            if row["scale"] == scale and not row["further"]:
                by.setdefault(row["task"], []).append(row)
        lines = [
            Line(
                task,
                [(at[row["point"]], row["mean"]) for row in course],
                _KINDS[number % len(_KINDS)],
                [(at[row["point"]], row["low"], row["high"]) for row in course],
            )
            for number, (task, course) in enumerate(sorted(by.items()))
        ]
        if any(len(line.points) > 1 for line in lines):
            charts.append(
                line_chart(f"Scores of {scale} tasks by round", lines, "rounds", f"{scale}: score", 0.0, 1.0)
            )
    return charts

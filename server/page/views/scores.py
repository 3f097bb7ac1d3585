"""What evaluations say so far: tables and charts of scores, and of how far hospitals' changes agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pages.charts import KINDS, Line, line_chart

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """A metric's course over a campaign: the first and the last value with its 95 % interval, and where each is."""

    scale: str
    task: str
    metric: str
    first: float
    last: float
    low: float
    high: float
    n: int
    point: str


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
        lines = []
        for number, (task, course) in enumerate(sorted(by.items())):
            there = sorted(course, key=lambda row: at[row["point"]])
            lines.append(
                Line(
                    task,
                    [(at[row["point"]], row["mean"]) for row in there],
                    KINDS[number % len(KINDS)],
                    [(at[row["point"]], row["low"], row["high"]) for row in there],
                )
            )
        if any(len(line.points) > 1 for line in lines):
            charts.append(
                line_chart(f"Scores of {scale} tasks by round", lines, "rounds", f"{scale}: score", 0.0, 1.0)
            )
    return charts


def agreement_charts(rows: Sequence[Values]) -> list[Markup]:
    """How far hospitals' changes agree over rounds, noise taken off: a chart of the scale experts, and one of all others.

    Empty where noise leaves nothing to tell.
    """
    by: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        if row["cosine"] is not None:
            kind = "scale" if row["expert"].startswith("scale/") else "task"
            by.setdefault(kind, {}).setdefault(row["expert"], []).append(
                (row["number"], float(row["cosine"]))
            )
    charts = []
    for kind, experts in sorted(by.items()):
        lines = [
            Line(expert, points, KINDS[number % len(KINDS)])
            for number, (expert, points) in enumerate(sorted(experts.items()))
        ]
        title = f"Agreement on {kind} experts by round"
        least = min(0.0, *(y for line in lines for _, y in line.points))
        charts.append(line_chart(title, lines, "rounds", "cosine between hospitals", least, 1.0))
    return charts

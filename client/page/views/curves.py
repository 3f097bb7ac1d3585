"""Curves of the page: what rounds cost, and how rewards rose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from pages.charts import KINDS, Line, line_chart
from privacy import renyi
from privacy.accounting import merged
from privacy.ledger.entries import Entry, Kind
from privacy.mechanism import Event

_MOST = 100  # points of a curve
_SMOOTH = 10  # steps of a running mean


def epsilon_curve(entries: Sequence[Entry], budget: float, delta: float) -> Markup:
    """Epsilon after each charge by two accountants: the loss distribution's as it was told when things left, and Renyi
    divergences'. Empty before the first charge.
    """
    events: list[Event] = []
    told = [(0.0, 0.0)]
    for entry in entries:
        if entry.kind == Kind.RESERVATION:
            events.append(Event.from_dict(entry.body["event"]))
        elif entry.kind == Kind.RELEASE and events and entry.body["epsilon"] is not None:
            told.append((float(len(events)), entry.body["epsilon"]))
    if not events:
        return Markup("")
    end = len(events)
    second = [(float(n), renyi.epsilon(merged(events[:n]), delta)) for n in spread(end)]
    lines = [
        Line("as charged", thinned(told), steps=True),
        Line("by Renyi", [(0.0, 0.0), *second], "second"),
        Line("budget", [(0.0, budget), (float(end), budget)], "limit"),
    ]
    return line_chart("Epsilon after each charge", lines, "requests charged", "epsilon")


def reward_curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Markup:
    """Mean reward by step, a running mean for each task."""
    lines = [
        Line(task, thinned([(float(step), value) for step, value in smooth(points)]), KINDS[n % len(KINDS)])
        for n, (task, points) in enumerate(curves.items())
    ]
    return line_chart("Mean reward by step", lines, "steps", "mean reward", most=1.5)


def smooth(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Each value as the mean of it and those just before it."""
    values = [value for _, value in points]
    return [
        (step, sum(near := values[max(0, n + 1 - _SMOOTH) : n + 1]) / len(near))
        for n, (step, _) in enumerate(points)
    ]


def spread(end: int) -> list[int]:
    """So many whole numbers from 1 to `end`, both included."""
    count = min(end, _MOST)
    return sorted({1 + round(n * (end - 1) / max(1, count - 1)) for n in range(count)})


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """So many of the points, the first and the last among them."""
    return [points[n - 1] for n in spread(len(points))] if points else []

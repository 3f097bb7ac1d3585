"""Epsilon over time as a step curve by each accountant, with the budget as a line: geometry apart from what draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from privacy.audit.accounting import Point

XY = tuple[float, float]
_TICKS = 5


@dataclass(frozen=True)
class Chart:
    """Lines in a unit square, (0, 0) at the lower left; ticks are a place on their axis and its words."""

    epsilon: tuple[XY, ...]
    second: tuple[XY, ...]
    budget: tuple[XY, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]


def chart(points: Sequence[Point], until: datetime) -> Chart | None:
    """The curve of these points, the last one held until `until`; None without any.

    An infinite epsilon is drawn at the top.
    """
    if not points:
        return None
    times = [datetime.fromisoformat(point.at) for point in points]
    start, end = min(times) - timedelta(minutes=1), max(until, max(times) + timedelta(minutes=1))
    finite = [value for p in points for value in (p.epsilon, p.second) if math.isfinite(value)]
    step = _step(max([*finite, *(point.budget for point in points)]))
    top = step * math.ceil(max([*finite, *(p.budget for p in points)]) / step + 0.25)
    span = (end - start).total_seconds()

    def across(at: datetime) -> float:
        return (at - start).total_seconds() / span

    def steps(first: float, values: Sequence[float]) -> tuple[XY, ...]:
        """Each value holds from its own time to the next one's."""
        line = [(0.0, first / top)]
        for at, value in zip(times, values, strict=True):
            line += [(across(at), line[-1][1]), (across(at), min(value, top) / top)]
        return (*line, (1.0, line[-1][1]))

    wide = span > 3 * 86400
    dates = [start + (end - start) * n / (_TICKS - 1) for n in range(_TICKS)]
    return Chart(
        epsilon=steps(0.0, [point.epsilon for point in points]),
        second=steps(0.0, [point.second for point in points]),
        budget=steps(points[0].budget, [point.budget for point in points]),
        across=tuple((across(at), f"{at:%Y-%m-%d}" if wide else f"{at:%d %b %H:%M}") for at in dates),
        up=tuple((n * step / top, f"{n * step:g}") for n in range(round(top / step) + 1)),
    )


def _step(most: float) -> float:
    """A round distance between ticks, so that there are two to six up to `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(power * share for share in (0.2, 0.5, 1.0, 2.0) if most / (power * share) <= 6)

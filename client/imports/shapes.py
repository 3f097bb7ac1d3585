"""Outlines with holes, in pixels, and what is done to them before they are written as a manifest's polygons.

A manifest's polygon is one closed line under the even-odd rule. A hole is written into it by a bridge: a
line from the outer ring to the hole and back, which encloses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

Point = tuple[float, float]
Ring = tuple[Point, ...]  # the last point joins the first and is not repeated
Rectangle = tuple[float, float, float, float]  # x1, y1, x2, y2

_FAR = 1e9  # pixels; beyond it areas lose their last digits


@dataclass(frozen=True)
class Part:
    """One connected area: its outer ring less its holes."""

    outer: Ring
    holes: tuple[Ring, ...] = ()


Shape = tuple[Part, ...]


def is_coordinate(value: object) -> bool:
    """Whether it is a number that a slide could have: JSON also knows NaN, infinity and any number of digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_FAR < value < _FAR


def as_ring(points: Iterable[Sequence[float]]) -> Ring:
    """A ring without repeated neighbours. Raises ValueError where no area is left."""
    ring: list[Point] = []
    for x, y in points:
        if not ring or ring[-1] != (x, y):
            ring.append((float(x), float(y)))
    if len(ring) > 1 and ring[0] == ring[-1]:
        ring.pop()
    if len(ring) < 3 or _double_area(ring) == 0:
        raise ValueError("no area")
    return tuple(ring)


def bounds(shape: Shape) -> Rectangle:
    """The smallest rectangle around all parts."""
    points = np.array([point for part in shape for point in part.outer])
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def area(line: Sequence[Point]) -> float:
    """What a closed line encloses; a hole that `outline` wrote into it does not count."""
    return abs(_double_area(line)) / 2


def outline(part: Part, tolerance: float) -> Ring:
    """The part as one closed line, simplified: no point of a ring lies further than `tolerance` from it."""
    outer = _turning(simplify(part.outer, tolerance), 1)
    inners = [_turning(simplify(hole, tolerance), -1) for hole in part.holes]
    bridged: dict[int, list[Point]] = {}  # by a point of the outer ring: there and back through holes
    nearest = cKDTree(outer)
    for inner in inners:
        distances, points = nearest.query(inner)
        there = int(distances.argmin())
        here = int(points[there])
        bridged.setdefault(here, []).extend([*inner[there:], *inner[:there], inner[there], outer[here]])
    return tuple(point for k, here in enumerate(outer) for point in (here, *bridged.get(k, ())))


def parts_of(covered: BaseGeometry) -> Shape:
    """What a geometry covers, part by part from the top; lines and points of it, and what is smaller than a pixel, are
    nothing to be seen."""
    areas = [part for part in shapely.get_parts(covered) if shapely.area(part) >= 1]
    parts = [Part(_open(area.exterior), tuple(map(_open, area.interiors))) for area in areas]
    return tuple(sorted(parts, key=lambda part: min((y, x) for x, y in part.outer)))


def _open(ring: BaseGeometry) -> Ring:
    """The points of a closed line, the first not repeated."""
    return tuple((x, y) for x, y in shapely.get_coordinates(ring)[:-1].tolist())


def simplify(ring: Ring, tolerance: float) -> Ring:
    """Douglas-Peucker on a closed line; the ring itself where fewer points would lose its area."""
    points = np.array(ring)
    far = int(np.square(points - points[0]).sum(axis=1).argmax())
    closed = np.vstack([points, points[:1]])
    kept = sorted(
        {*_kept(closed, 0, far, tolerance), *_kept(closed, far, len(ring), tolerance)} - {len(ring)}
    )
    simple = tuple(ring[k] for k in kept)
    return simple if len(simple) >= 3 and _double_area(simple) != 0 else ring


def _kept(points: NDArray[np.float64], first: int, last: int, tolerance: float) -> list[int]:
    """Indices from first to last that a line within `tolerance` of all the others needs."""
    kept, open_spans = [first, last], [(first, last)]
    while open_spans:
        a, b = open_spans.pop()
        if b - a < 2:
            continue
        along, away = points[b] - points[a], points[a + 1 : b] - points[a]
        length = float(np.hypot(*along))
        cross = np.abs(along[0] * away[:, 1] - along[1] * away[:, 0])
        distance = cross / length if length else np.hypot(away[:, 0], away[:, 1])
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = a + 1 + worst
            kept.append(middle)
            open_spans += [(a, middle), (middle, b)]
    return kept


def _turning(ring: Ring, sign: int) -> Ring:
    """The ring in the turning direction that gives its signed area this sign."""
    return ring if _double_area(ring) * sign > 0 else ring[::-1]


def _double_area(line: Sequence[Point]) -> float:
    x, y = np.array(line).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())

"""Tiles inside outlines that someone drew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from client.slides.tiles import Cells, Grid

Ring = Sequence[tuple[float, float]]


def area_of(parts: Iterable[tuple[Ring, Sequence[Ring]]]) -> BaseGeometry:
    """What outlines with their holes, in level-0 pixels, enclose together; what several enclose counts once.

    A line that crosses itself encloses what the even-odd rule says. Raises ValueError for a line of fewer than three
    points.
    """
    return shapely.union_all(
        [
            _enclosed(outer).difference(shapely.union_all([_enclosed(hole) for hole in holes]))
            for outer, holes in parts
        ]
    )


def shares_inside(grid: Grid, area: BaseGeometry) -> NDArray[np.float64]:
    """[rows, columns]: which share of each tile lies in the area."""
    shapely.prepare(area)
    lefts, tops = np.meshgrid(grid.lefts, grid.tops)
    boxes = shapely.box(lefts, tops, lefts + grid.side, tops + grid.side)
    shares = shapely.contains_properly(area, boxes).astype(np.float64)
    cut = shapely.intersects(area, boxes) & (shares == 0)
    shares[cut] = shapely.area(shapely.intersection(area, boxes[cut])) / grid.side**2
    return shares


def cells_inside(grid: Grid, area: BaseGeometry, least: float) -> Cells:
    """The cells of tiles of which at least this share lies in the area, row by row: 1 takes those wholly inside, a
    share near 0 all that touch it by more than an edge."""
    return np.argwhere(shares_inside(grid, area) >= least * (1 - 1e-9))


def _enclosed(ring: Ring) -> BaseGeometry:
    return shapely.make_valid(shapely.Polygon(ring))

"""Grids of square tiles over a slide, at any physical scale, and those of their tiles that hold tissue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.slides.slide import Slide, SlideReader
from client.slides.tissue_map import TissueMap, tissue_map

LEAST_TISSUE = 0.25  # share of a tile that must be tissue

_ROUNDING = 1e-9

Cells = NDArray[np.int64]  # [n, 2]: row and column of n tiles of a grid, row by row


@dataclass(frozen=True)
class Tile:
    """A rectangle of a slide in level-0 pixels; it may reach past the slide (white there)."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Grid:
    """Squares of `side` level-0 pixels, `stride` apart from corner to corner, from the slide's upper left corner on.

    They cover the slide, and each covers a part that none before it does; without an overlap the stride is the side.
    All have their full size: those of the last row and column may reach past the slide. `margin` is how much around a
    tile is looked at with it.
    """

    side: int
    stride: int
    margin: int
    rows: int
    columns: int

    def tile(self, row: int, column: int) -> Tile:
        """The tile at a cell of the grid."""
        return Tile(column * self.stride, row * self.stride, self.side, self.side)

    def around(self, row: int, column: int) -> Tile:
        """The tile at a cell, with its margin: on all sides, and past the slide where it lies there."""
        tile, both = self.tile(row, column), 2 * self.margin
        return Tile(tile.x - self.margin, tile.y - self.margin, tile.width + both, tile.height + both)

    def tiles(self, cells: Iterable[tuple[int, int]] | Cells) -> list[Tile]:
        """The tiles at some cells, in their order."""
        return [self.tile(int(row), int(column)) for row, column in cells]

    @property
    def cells(self) -> Cells:
        """All cells, row by row."""
        return np.argwhere(np.ones((self.rows, self.columns), dtype=np.bool_))

    @property
    def tops(self) -> NDArray[np.int64]:
        """Where each row begins."""
        return np.arange(self.rows, dtype=np.int64) * self.stride

    @property
    def lefts(self) -> NDArray[np.int64]:
        """Where each column begins."""
        return np.arange(self.columns, dtype=np.int64) * self.stride


def grid_over(slide: Slide, mpp: float, pixels: int, overlap: int = 0, margin: int = 0) -> Grid:
    """A grid of tiles that are `pixels` x `pixels` when read at `mpp`; neighbours share `overlap` of these pixels, and
    `margin` of them around a tile are its context.

    All lengths become whole level-0 pixels, the nearest to what is asked (a side and a stride at least 1): tiles of a
    grid are alike, and it never drifts. Raises ValueError unless mpp > 0, 0 <= overlap < pixels and margin >= 0.
    """
    if not (mpp > 0 and 0 <= overlap < pixels and margin >= 0):
        raise ValueError(
            f"a grid needs mpp > 0, 0 <= overlap < pixels and margin >= 0, not {mpp}, {overlap}, {pixels}, {margin}"
        )
    side, shared, around = (round(length * mpp / slide.mpp) for length in (pixels, overlap, margin))
    side = max(1, side)
    stride = max(1, side - shared)
    rows, columns = (1 + max(0, -(-(length - side) // stride)) for length in (slide.height, slide.width))
    return Grid(side, stride, around, rows, columns)


def tissue_cells(found: TissueMap, grid: Grid, least: float = LEAST_TISSUE) -> Cells:
    """The cells of tiles with at least this share of tissue; where no tile has, the one with the most.

    So a slide always has at least one. The same slide gives the same cells, in the same order.
    """
    shares = found.shares(grid.tops, grid.lefts, grid.side)
    taken = np.argwhere(shares >= least - _ROUNDING)
    return taken if len(taken) else np.argwhere(shares == shares.max())[:1]


def tissue_tiles(
    reader: SlideReader, mpp: float, pixels: int, overlap: int = 0, least: float = LEAST_TISSUE
) -> list[Tile]:
    """The tiles of `grid_over` that hold tissue, as `tissue_cells` says. Raises SlideError as `SlideReader.read`
    does."""
    grid = grid_over(reader.slide, mpp, pixels, overlap)
    return grid.tiles(tissue_cells(tissue_map(reader), grid, least))

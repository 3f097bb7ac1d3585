"""Cut a slide's tissue into tiles of one physical size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from client.slides.slide import SlideReader
from client.slides.tissue import MASK_MPP, tissue_mask

LEAST_TISSUE = 0.25  # share of a tile that must be tissue


@dataclass(frozen=True)
class Tile:
    """A square of a slide in level-0 pixels; at the right and lower edges it may reach past the slide (white
    there)."""

    x: int
    y: int
    width: int
    height: int


def tissue_tiles(reader: SlideReader, mpp: float, pixels: int) -> list[Tile]:
    """The tiles of `pixels` x `pixels` at `mpp` that hold tissue, on a grid from the upper left corner, row
    by row.

    A tile is taken if a quarter of it is tissue. Where no tile reaches that, the one with the most tissue is:
    a slide always has at least one tile. The same slide gives the same tiles. Raises SlideError as
    `SlideReader.read` does.
    """
    slide = reader.slide
    side = max(1, round(pixels * mpp / slide.mpp))
    mask = tissue_mask(reader.read(0, 0, slide.width, slide.height, max(MASK_MPP, slide.mpp)))
    down, across = mask.shape[0] / slide.height, mask.shape[1] / slide.width  # mask pixels a level-0 pixel

    def tissue(tile: Tile) -> float:
        rows = slice(math.floor(tile.y * down), math.ceil((tile.y + side) * down))
        columns = slice(math.floor(tile.x * across), math.ceil((tile.x + side) * across))
        inside = min(side, slide.width - tile.x) * min(side, slide.height - tile.y) / side**2
        return float(mask[rows, columns].mean()) * inside

    grid = [Tile(x, y, side, side) for y in range(0, slide.height, side) for x in range(0, slide.width, side)]
    shares = [tissue(tile) for tile in grid]
    taken = [tile for tile, share in zip(grid, shares, strict=True) if share >= LEAST_TISSUE]
    return taken or [grid[shares.index(max(shares))]]

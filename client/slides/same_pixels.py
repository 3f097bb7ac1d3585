"""Whether the fast way shows what OpenSlide shows: looked at where the two could differ, at every opening."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from client.errors import SlideError
from client.slides.openslide_pixels import OpenSlidePixels
from client.slides.pixels import Pixels
from client.slides.tile_index import TiledLevel

_WINDOW = 32  # pixels: side of a place that is looked at
_DRAWN_SHIFTED = 4  # levels of 255: OpenSlide's drawing between pixels, rounded twice, against ours
_EXACT = 1 / 1024  # of a pixel: a smaller shift OpenSlide draws as none

Place = tuple[int, int, int, int]  # x, y, width, height in pixels of a level


def same_pixels(fast: Pixels, general: OpenSlidePixels, levels: Sequence[TiledLevel]) -> bool:
    """True if both give the same pixels at every place of `places` on every level, none differing at all.

    Where OpenSlide draws a level between pixels (`OpenSlidePixels.shift`), the fast way's pixels are shifted alike before
    they are compared, and may then differ by rounding; the upper left corner of a level is never shifted.
    """
    try:
        return all(
            _same(fast, general, number, place)
            for number, level in enumerate(levels)
            for place in places(level)
        )
    except SlideError:
        return False


def places(level: TiledLevel) -> Iterator[Place]:
    """Corners, middles of the edges and the centre, each across the seams of tiles that lie next; the tile with
    the most bytes, whole; the first and the last tile that the file does not have. The same for the same file."""
    columns = _along(level.width, level.tile_width)
    rows = _along(level.height, level.tile_height)
    yield from ((x, y, w, h) for y, h in rows for x, w in columns)
    absent = np.flatnonzero(level.counts == 0)
    for number in {int(level.counts.argmax()), *absent[:1].tolist(), *absent[-1:].tolist()}:
        row, column = divmod(number, level.across)
        x, y = column * level.tile_width, row * level.tile_height
        yield x, y, min(level.tile_width, level.width - x), min(level.tile_height, level.height - y)


def _along(length: int, tile: int) -> list[tuple[int, int]]:
    """Windows (start, size) along one side: its beginning, the seam nearest its middle, its end."""
    size = min(_WINDOW, length)
    seam = length // 2 // tile * tile
    starts = {0, min(max(seam - size // 2, 0), length - size), length - size}
    return [(start, size) for start in sorted(starts)]


def _same(fast: Pixels, general: OpenSlidePixels, level: int, place: Place) -> bool:
    x, y, width, height = place
    drawn = general.read(level, x, y, width, height)
    right, down = general.shift(level, x, y)
    if abs(right) < _EXACT and abs(down) < _EXACT:
        return np.array_equal(fast.read(level, x, y, width, height), drawn)
    around = fast.read(level, x - 1, y - 1, width + 2, height + 2).astype(np.float64)
    shifted = _shifted(_shifted(around, down).swapaxes(0, 1), right).swapaxes(0, 1)
    return bool(np.abs(shifted - drawn).max() <= _DRAWN_SHIFTED)


def _shifted(pixels: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """Rows read `by` of a pixel further on, without the first and the last, between which they are drawn."""
    after, share = (pixels[2:], by) if by > 0 else (pixels[:-2], -by)
    return (1 - share) * pixels[1:-1] + share * after

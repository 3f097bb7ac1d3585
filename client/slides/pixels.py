"""What a reader needs of an open slide file: the pixels of its pyramid's levels.

Two ways lead to them: `client.slides.tiled_pixels` straight from the file's index of tiles, and
`client.slides.openslide_pixels` for every format that OpenSlide knows.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Pixels(Protocol):
    """An open pyramid. Reads may come from several threads; one that is under way when `close` is called ends
    well."""

    @property
    def way(self) -> str:
        """By which of the two ways the pixels come: "tiles" or "openslide"."""

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """RGB [height, width, 3] of `level` from (x, y) on, in whole pixels of that level; white where the
        slide has none.

        Raises DamagedRegionError if the data there can't be decoded.
        """

    def close(self) -> None:
        """Give the file back. A later read raises ValueError."""


def inside(x: int, y: int, width: int, height: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part (left, top, right, bottom) of a rectangle that lies on a level of `size` (width, height).

    Empty (right <= left or bottom <= top) where they do not meet.
    """
    return max(x, 0), max(y, 0), min(x + width, size[0]), min(y + height, size[1])

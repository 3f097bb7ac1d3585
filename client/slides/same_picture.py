"""Whether a coarser level is the slide's own picture made smaller, and not a photograph of its label.

In TIFF files nothing but a page's place and form makes it a level: OpenSlide takes any tiled page of an Aperio file, any
reduced one of a generic TIFF. A label or macro photograph that a converter has tiled is then a level, and the name on it
would be shown, and learnt, as if it were tissue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from client.errors import SlideError
from client.slides.pixels import Pixels

_LOOKED_THROUGH = 1 << 21  # pixels of a level that is read whole: labels and macros have fewer
_FIELD, _SPARSE = 256, 128  # pixels: sides of what is read at once, of a level read whole and of a larger one
_ALONG = (
    3  # places along each side of a larger level: there the check of pixels looks too, at tiles then decoded
)
_WINDOW = 32  # pixels of the coarser level: side of what is compared
_FINER = 512  # and about the most of the finer one
_BLOCKS = (
    4  # along a window's side: what is compared is their means, which noise and resampling hardly change
)
_CHOSEN = 6  # windows with most to see, and as many spread evenly
_APART = (
    16.0  # levels of 255, mean over blocks: another picture; a sharp edge that lies three pixels off is less
)
_PLAIN = 6.0  # standard deviation of grey: glass, which is like any glass
_ASPECT = 0.02  # by how much both directions' downsamples may differ, beside rounding

Size = tuple[int, int]


@dataclass(frozen=True)
class _Window:
    """A square of the coarser level, RGB, its place in it, and how much there is to see."""

    x: int
    y: int
    pixels: NDArray[np.uint8]
    contrast: float


def same_aspect(whole: Size, size: Size) -> bool:
    """Whether a level of this (width, height) can be `whole` made smaller by one factor."""
    across, down = whole[0] / size[0], whole[1] / size[1]
    return abs(across / down - 1) <= _ASPECT + 1 / size[0] + 1 / size[1]


def same_picture(pixels: Pixels, level: int, sizes: Sequence[Size], downsamples: Sequence[float]) -> bool:
    """Whether `level` shows what the next finer one does, at the windows with most to see and at some spread evenly.

    A level of up to two megapixels is looked through for them, a larger one in nine places. What is blank in both, or
    can't be decoded, says nothing, and a level of which nothing can be said passes.
    """
    ratio = downsamples[level] / downsamples[level - 1]
    width, height = sizes[level]
    side = min(_WINDOW, max(_FINER // max(1, round(ratio)), _WINDOW // 4), width, height)
    windows = list(_windows(pixels, level, (width, height), side))
    evenly = windows[:: max(1, len(windows) // _CHOSEN)]
    clearest = sorted(windows, key=lambda window: -window.contrast)[:_CHOSEN]
    alike = apart = 0
    for window in (*clearest, *evenly):
        x, y, across = round(window.x * ratio), round(window.y * ratio), max(1, round(side * ratio))
        try:
            finer = pixels.read(level - 1, x, y, across, across)
        except SlideError:
            continue
        if np.abs(_means(window.pixels) - _means(finer)).mean() > _APART:
            apart += 1
        elif window.contrast > _PLAIN:
            alike += 1
    return apart <= alike


def _windows(pixels: Pixels, level: int, size: Size, side: int) -> Iterator[_Window]:
    for x, y, width, height in _fields(size, side):
        try:
            field = pixels.read(level, x, y, width, height)
        except SlideError:
            continue
        grey = cv2.cvtColor(field, cv2.COLOR_RGB2GRAY)
        for top, left in product(range(0, height - side + 1, side), range(0, width - side + 1, side)):
            part = np.s_[top : top + side, left : left + side]
            yield _Window(x + left, y + top, field[part], float(grey[part].std()))


def _fields(size: Size, side: int) -> Iterator[tuple[int, int, int, int]]:
    """Places (x, y, width, height) that are read: all of a level, or some of it."""
    width, height = size
    if width * height <= _LOOKED_THROUGH:
        for y, x in product(range(0, height, _FIELD), range(0, width, _FIELD)):
            yield x, y, min(_FIELD, width - x), min(_FIELD, height - y)
        return
    across, down = min(_SPARSE, width), min(_SPARSE, height)
    for row, column in product(range(_ALONG), repeat=2):
        x, y = (
            (full - part) * step // (_ALONG - 1)
            for full, part, step in ((width, across, column), (height, down, row))
        )
        yield x, y, across, down


def _means(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    blocks = cv2.resize(picture.astype(np.float32), (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA)
    return np.asarray(blocks, np.float32)

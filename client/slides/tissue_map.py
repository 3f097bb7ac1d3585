"""The tissue of a whole slide, and how much of it lies in squares of any size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from client.errors import SlideError
from client.slides.read_ahead import picture_or_error
from client.slides.slide import Slide, SlideReader
from client.slides.tissue import MASK_MPP, Overview, overview

# Pixels of an overview: a whole object slide has fewer, and what claims more must not fill the memory.
_MOST = 1 << 25
_BLOCK = 64  # pixels of an overview


@dataclass(frozen=True)
class TissueMap:
    """A slide's overview picture, RGB [H, W, 3], and what it shows; it covers the slide from edge to edge."""

    slide: Slide
    picture: NDArray[np.uint8]
    overview: Overview

    def shares(self, tops: NDArray[np.int64], lefts: NDArray[np.int64], side: int) -> NDArray[np.float64]:
        """[rows, columns]: the share of tissue in squares of `side` level-0 pixels whose upper left corners stand on
        all crossings of `tops` and `lefts`.

        Exact for the mask: its pixels count by the area that a square covers of them. Outside the slide is no tissue.
        """
        sums = np.pad(self.overview.tissue.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
        rows, columns = self.overview.tissue.shape
        down, across = rows / self.slide.height, columns / self.slide.width  # mask pixels a level-0 pixel
        bands = _at(sums, (tops + side) * down, 0) - _at(sums, tops * down, 0)
        inside = _at(bands, (lefts + side) * across, 1) - _at(bands, lefts * across, 1)
        return np.clip(inside / (side * down * side * across), 0, 1)


def overview_mpp(slide: Slide) -> float:
    """The scale at which a whole slide is looked at: MASK_MPP, or as coarse as the slide is, or as its size makes it."""
    return max(MASK_MPP, slide.mpp, slide.mpp * math.sqrt(slide.width * slide.height / _MOST))


def tissue_map(reader: SlideReader) -> TissueMap:
    """Read the slide at MASK_MPP (coarser where it is coarser itself, or larger than any glass), and find its tissue.

    What can't be read counts as tissue, in blocks of half a millimetre: whoever reads its tiles will see. Raises
    SlideError where nothing can be read.
    """
    picture, unread = whole_slide(reader, overview_mpp(reader.slide))
    seen = overview(picture)
    return TissueMap(reader.slide, picture, Overview(seen.tissue | unread, seen.ink & ~unread))


def whole_slide(reader: SlideReader, mpp: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The whole slide at `mpp`, RGB [H, W, 3], white in blocks that can't be read; and where these are, [H, W].

    Raises SlideError where that is everywhere.
    """
    slide = reader.slide
    try:
        picture = reader.read(0, 0, slide.width, slide.height, mpp)
        return picture, np.zeros(picture.shape[:2], dtype=np.bool_)
    except SlideError:
        return _in_blocks(reader, mpp)


def _in_blocks(reader: SlideReader, mpp: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    slide = reader.slide
    shape = max(1, round(slide.height * slide.mpp / mpp)), max(1, round(slide.width * slide.mpp / mpp))
    picture = np.full((*shape, 3), 255, dtype=np.uint8)
    unread = np.zeros(shape, dtype=np.bool_)
    error: SlideError | None = None
    for top, left in product(range(0, shape[0], _BLOCK), range(0, shape[1], _BLOCK)):
        part = np.s_[top : top + _BLOCK, left : left + _BLOCK]
        rows, columns = unread[part].shape
        y1, y2 = (round(row * slide.height / shape[0]) for row in (top, top + rows))
        x1, x2 = (round(column * slide.width / shape[1]) for column in (left, left + columns))
        block = picture_or_error(reader, x1, y1, x2 - x1, y2 - y1, mpp)
        if isinstance(block, SlideError):
            unread[part], error = True, block
        else:
            picture[part] = cv2.resize(block, (columns, rows), interpolation=cv2.INTER_AREA)
    if error is not None and unread.all():
        raise error
    return picture, unread


def _at(sums: NDArray[np.float64], places: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Running sums at places between their entries, along an axis; beyond the last entry they rise no more."""
    last = sums.shape[axis] - 1
    places = np.clip(places, 0, last)
    below = np.minimum(places.astype(np.int64), last - 1)
    low, high = (np.take(sums, below + step, axis=axis) for step in (0, 1))
    return np.asarray(low + (high - low) * np.expand_dims(places - below, 1 - axis), dtype=np.float64)

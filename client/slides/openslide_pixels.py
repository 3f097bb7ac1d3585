"""The general way: pixels through OpenSlide, for every format that it knows."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from client.errors import DamagedRegionError
from client.slides.forks import renew_in_children
from client.slides.pixels import inside

IMAGES = frozenset({".jpeg", ".jpg", ".png"})
FAILURES = (
    openslide.OpenSlideError,
    OSError,
    SyntaxError,
    Image.DecompressionBombError,
)  # of opening and reading

OPENSLIDE_CACHE_BYTES = 64 << 20  # of decoded tiles, for all slides together that come this way


class OpenSlidePixels:
    """A slide's pyramid through a handle of OpenSlide's, or a plain image's one level.

    A handle is of no use once a read has failed, nor in a forked child, so another takes its place then. OpenSlide places
    a read in level-0 pixels and divides by the quotient of the levels' rounded sizes: where that is not whole it draws
    the level shifted by a fraction of a pixel (`shift`), at most half a level-0 pixel here.
    """

    way = "openslide"

    def __init__(self, path: Path) -> None:
        """Raises one of FAILURES if it can't be opened."""
        self._path = path
        self._lock = threading.Lock()
        self._handle: openslide.AbstractSlide | None = _open(path)
        self._closed = False
        self._sizes: tuple[tuple[int, int], ...] = self._handle.level_dimensions
        self._downsamples: tuple[float, ...] = self._handle.level_downsamples
        renew_in_children(self)

    @property
    def handle(self) -> openslide.AbstractSlide:
        """The open handle, for what the file states."""
        with self._lock:
            if self._closed:
                raise ValueError("this reader is closed")
            if self._handle is None:
                self._handle = _open(self._path)
            return self._handle

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """As `Pixels.read`."""
        left, top, right, bottom = inside(x, y, width, height, self._sizes[level])
        if right <= left or bottom <= top:
            return np.full((height, width, 3), 255, np.uint8)
        downsample = self._downsamples[level]
        place = round(left * downsample), round(top * downsample)
        handle = None
        try:
            handle = self.handle
            rgba = np.asarray(handle.read_region(place, level, (right - left, bottom - top)))
        except FAILURES:
            self._drop(handle)
            raise DamagedRegionError(self._path.name) from None
        rgb = _over_white(rgba)
        if rgb.shape[:2] == (height, width):
            return rgb
        out = np.full((height, width, 3), 255, np.uint8)
        out[top - y : bottom - y, left - x : right - x] = rgb
        return out

    def shift(self, level: int, x: int, y: int) -> tuple[float, float]:
        """By how much of a pixel of `level` a read at (x, y) is drawn too far to the right and down; zeros: exact."""
        downsample = self._downsamples[level]
        return round(x * downsample) / downsample - x, round(y * downsample) / downsample - y

    def close(self) -> None:
        """As `Pixels.close`: the handle closes when the last read has let go of it."""
        with self._lock:
            self._closed = True
            self._handle = None

    def renew(self) -> None:
        """In a forked child: leave the parent's handle alone and open another at the next read."""
        self._lock = threading.Lock()
        _inherited.append(self._handle)  # closing it here could wait for a lock that no thread holds any more
        self._handle = None

    def _drop(self, handle: openslide.AbstractSlide | None) -> None:
        with self._lock:
            if self._handle is handle:
                self._handle = None


def _open(path: Path) -> openslide.AbstractSlide:
    if path.suffix.lower() in IMAGES:
        image = openslide.ImageSlide(path)
        image.read_region((0, 0), 0, (1, 1))  # decodes it all, here and once: two threads must not
        return image
    handle = openslide.OpenSlide(path)
    handle.set_cache(_cache.cache)
    return handle


def _over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB of RGBA laid over white."""
    rgb = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), np.uint8)
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return rgb
    return (rgb * (alpha / 255) + (255 - alpha) + 0.5).astype(np.uint8)


class _SharedCache:
    """OpenSlide's own cache of tiles, one for all handles of the process."""

    def __init__(self) -> None:
        self.cache = openslide.OpenSlideCache(OPENSLIDE_CACHE_BYTES)
        renew_in_children(self)

    def renew(self) -> None:
        _inherited.append(self.cache)
        self.cache = openslide.OpenSlideCache(OPENSLIDE_CACHE_BYTES)


_inherited: list[object] = []  # of a forked child: handles of the parent's that are left as they were
_cache = _SharedCache()

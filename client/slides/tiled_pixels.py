"""The fast way: tiles read from their places in the file and decoded, with no library between."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.errors import ChangedSlideError, DamagedRegionError, UnreadableSlideError
from client.slides.file_state import FileState
from client.slides.pixels import inside
from client.slides.tile_cache import TileCache
from client.slides.tile_codecs import DamagedTileError
from client.slides.tile_index import TiledLevel

_REMEMBERED = 4096  # tiles used whole: some rows of them across a slide
_owners = itertools.count()


class TiledPixels:
    """The pyramid of a tiled TIFF by its index. A file is read by position only, so threads and forked children
    share it without harm."""

    way = "tiles"

    def __init__(self, path: Path, state: FileState, levels: Sequence[TiledLevel], cache: TileCache) -> None:
        """Raises UnreadableSlideError or, if the file is no longer in this state, ChangedSlideError."""
        self._name = path.name
        self._levels = tuple(levels)
        self._cache = cache
        self._owner = next(_owners)
        self._used_whole: set[tuple[int, int]] = set()
        self._again = False
        self._file: _OpenFile | None = _OpenFile(path)
        if FileState.of(os.fstat(self._file.descriptor)) != state:
            raise ChangedSlideError(path.name)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """As `Pixels.read`."""
        file = self._file  # held to the end of the read: a close from another thread waits for it
        if file is None:
            raise ValueError("this reader is closed")
        index = self._levels[level]
        left, top, right, bottom = inside(x, y, width, height, (index.width, index.height))
        out = np.empty((height, width, 3), np.uint8)
        if right - left < width or bottom - top < height:
            out[:] = 255
        if right <= left or bottom <= top:
            return out
        side_x, side_y = index.tile_width, index.tile_height
        for row in range(top // side_y, -(-bottom // side_y)):
            first_y = row * side_y
            upper, lower = max(first_y, top), min(first_y + side_y, bottom)
            whole_rows = lower - upper == min(side_y, index.height - first_y)
            for column in range(left // side_x, -(-right // side_x)):
                first_x = column * side_x
                near, far = max(first_x, left), min(first_x + side_x, right)
                whole = whole_rows and far - near == min(side_x, index.width - first_x)
                part = out[upper - y : lower - y, near - x : far - x]
                tile, kept = self._tile(file, level, row * index.across + column, whole)
                if tile is None:
                    part[:] = 255
                    continue
                # `tile` is held while a part of it is copied: else its memory could become another's.
                part[:] = tile[upper - first_y : lower - first_y, near - first_x : far - first_x]
                if not kept:
                    self._cache.give_back(tile)
        return out

    def close(self) -> None:
        """As `Pixels.close`."""
        self._file = None
        self._cache.forget(self._owner)

    def _tile(
        self, file: _OpenFile, level: int, number: int, whole: bool
    ) -> tuple[NDArray[np.uint8] | None, bool]:
        """A tile, decoded, all of it, and whether the cache keeps it; None for one that the file does not have.

        One that is used `whole` is not kept: a scan asks for each once, and memory that the processor's caches hold already
        is the cheapest to decode into. Once tiles used whole are asked for again, as by reads that overlap, they are.
        """
        index = self._levels[level]
        offset, count = int(index.offsets[number]), int(index.counts[number])
        if count == 0:
            return None, True
        key = (self._owner, level, offset)
        tile = self._cache.get(key)
        if tile is not None:
            return tile, True
        try:
            data = os.pread(file.descriptor, count, offset)
        except OSError:
            raise UnreadableSlideError(self._name) from None
        tile = self._cache.room(index.tile_height, index.tile_width)
        try:
            index.decode(data, tile)
        except DamagedTileError:
            raise DamagedRegionError(self._name) from None
        keep = not whole or self._come_again(level, number)
        if keep:
            self._cache.put(key, tile)
        return tile, keep

    def _come_again(self, level: int, number: int) -> bool:
        """Whether tiles that were used whole are asked for again."""
        if not self._again:
            self._again = (level, number) in self._used_whole
            if len(self._used_whole) >= _REMEMBERED:  # two threads may have stepped over it
                self._used_whole.clear()
            self._used_whole.add((level, number))
        return self._again


class _OpenFile:
    """A descriptor that is given back when the last who holds this lets go: never one that another file has
    since been given."""

    def __init__(self, path: Path) -> None:
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.descriptor = -1
            raise UnreadableSlideError(path.name) from None

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

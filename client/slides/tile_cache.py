"""Decoded tiles of all open slides of this process, within one budget of bytes."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from client.slides.forks import renew_in_children

CACHE_BYTES = 256 << 20  # a row of 256-px tiles across a slide 300,000 pixels wide
_SPARE = 4  # rooms kept beside the budget: about one for every thread that decodes


class TileCache:
    """At most `budget` bytes of decoded tiles, the most recently used ones; safe for threads.

    Keys are (owner, ...). A tile larger than the budget is not kept. Tiles come out as they went in, read-only. The memory
    of one that has left the cache serves the next tile once nobody holds it any more: hold the tile itself for as long as
    a part of it is looked at. A forked child starts with an empty cache of its own.
    """

    def __init__(self, budget: int = CACHE_BYTES) -> None:
        if budget < 0:
            raise ValueError(f"a cache can't have a budget of {budget} bytes")
        self.budget = budget
        self.renew()
        renew_in_children(self)

    @property
    def nbytes(self) -> int:
        """Bytes held now; never above the budget."""
        return self._nbytes

    def get(self, key: tuple[Hashable, ...]) -> NDArray[np.uint8] | None:
        """The tile of this key, which becomes the most recently used; None if it is not held."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def room(self, height: int, width: int) -> NDArray[np.uint8]:
        """Room for a tile [height, width, 3] that is about to be decoded, to be `put` or given back.

        That of a tile that leaves, where the cache is full, and before it what was last given back, which the processor's
        caches still hold: fresh memory costs a tenth of a tile's decoding, or much more where the allocator has it from
        the system each time.
        """
        needed = height * width * 3
        with self._lock:
            if self._spare and self._spare[-1].shape == (height, width, 3):
                return self._spare.pop()
            while self._tiles and self._nbytes + needed > self.budget >= needed:
                tile = self._drop_oldest()
                # Two: the name `tile` and the call's own; and `tile` is all that looks into its memory.
                alone = sys.getrefcount(tile) == 2 and sys.getrefcount(tile.base) == 2
                if alone and tile.shape == (height, width, 3):
                    tile.flags.writeable = True
                    return tile
        return off_boundary(height, width)

    def give_back(self, room: NDArray[np.uint8]) -> None:
        """Room that was not `put`, and that nobody looks at any more."""
        with self._lock:
            if len(self._spare) == _SPARE:
                del self._spare[0]
            self._spare.append(room)

    def put(self, key: tuple[Hashable, ...], tile: NDArray[np.uint8]) -> None:
        """Keep the tile, and let go of the least recently used ones that no longer fit beside it."""
        if tile.nbytes > self.budget:
            return
        tile.flags.writeable = False
        with self._lock:
            if key in self._tiles:  # two threads decoded the same one
                return
            while self._nbytes + tile.nbytes > self.budget:
                self._drop_oldest()
            self._tiles[key] = tile
            self._nbytes += tile.nbytes

    def forget(self, owner: Hashable) -> None:
        """Let go of all tiles of this owner."""
        with self._lock:
            for key in [key for key in self._tiles if key[0] == owner]:
                self._nbytes -= self._tiles.pop(key).nbytes

    def renew(self) -> None:
        """Empty, with a lock of its own (a forked child's)."""
        self._lock = threading.Lock()
        self._spare: list[NDArray[np.uint8]] = []
        self._tiles: OrderedDict[tuple[Hashable, ...], NDArray[np.uint8]] = OrderedDict()
        self._nbytes = 0

    def _drop_oldest(self) -> NDArray[np.uint8]:
        tile = self._tiles.popitem(last=False)[1]
        self._nbytes -= tile.nbytes
        return tile


def off_boundary(height: int, width: int) -> NDArray[np.uint8]:
    """Room for RGB [height, width, 3] that begins 8 bytes past a boundary of 32.

    Into rows that begin on one libjpeg-turbo writes past the processor's caches (its SSE2 and AVX2 colour conversion), which
    is right for pictures that nobody reads soon; a tile is read at once, and decodes about a seventh faster so.
    """
    room = np.empty(height * width * 3 + 32, np.uint8)
    start = (8 - room.__array_interface__["data"][0]) % 32
    return room[start : start + height * width * 3].reshape(height, width, 3)


SHARED = TileCache()
"""The cache of all slides that are opened without one of their own."""

"""Decoded tiles of all open slides of this process, within one budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from client.slides.forks import renew_in_children

CACHE_BYTES = 256 << 20  # a row of 256-px tiles across a slide 300,000 pixels wide


class TileCache:
    """At most `budget` bytes of decoded tiles, the most recently used ones; safe for threads.

    Keys are (owner, ...). A tile larger than the budget is not kept. Tiles come out as they went in, read-only: who
    holds one that has left the cache keeps its memory. A forked child starts with an empty cache of its own.
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

    def put(self, key: tuple[Hashable, ...], tile: NDArray[np.uint8]) -> None:
        """Keep the tile, and let go of the least recently used ones that no longer fit beside it."""
        if tile.nbytes > self.budget:
            return
        tile.flags.writeable = False
        with self._lock:
            if key in self._tiles:  # two threads decoded the same one
                return
            while self._nbytes + tile.nbytes > self.budget:
                self._nbytes -= self._tiles.popitem(last=False)[1].nbytes
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
        self._tiles: OrderedDict[tuple[Hashable, ...], NDArray[np.uint8]] = OrderedDict()
        self._nbytes = 0


SHARED = TileCache()
"""The cache of all slides that are opened without one of their own."""

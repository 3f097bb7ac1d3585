"""Reads from any number of slides with a bounded number of them open: what a training loop draws its tiles from."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.slides.forks import renew_in_children
from client.slides.slide import Opened, Slide, SlideReader, open_again, open_slide
from client.slides.tile_cache import SHARED, TileCache

MOST_OPEN = 64


class ReaderPool:
    """At most `most_open` slides are open at once, the most recently read; others are opened as they are asked for.

    Safe for threads, which share a slide's reader; more threads than `most_open` wait for each other. A slide on a
    network that has gone away holds up those who read it, and one of the places, nobody else. A forked child starts with
    none open; a pool that is pickled arrives empty, with the process's shared cache.

    A pool takes every file as it is when it first opens it: one that is changed after that is refused for good. Begin
    another pool to read it as it has become.
    """

    def __init__(self, most_open: int = MOST_OPEN, cache: TileCache = SHARED) -> None:
        if most_open < 1:
            raise ValueError(f"a pool needs room for a slide, not for {most_open}")
        self._most_open = most_open
        self._cache = cache
        self._opened: dict[tuple[Path, float], Opened] = {}
        self.renew()
        renew_in_children(self)

    @property
    def open_now(self) -> int:
        """How many slides have a place now; never above `most_open`."""
        return len(self._places)

    def read(self, slide: Slide, x: int, y: int, width: int, height: int, mpp: float) -> NDArray[np.uint8]:
        """As `SlideReader.read` of this slide, opened at its mpp. Raises SlideError as that and `open_slide` do."""
        place = self._take(slide)
        try:
            return self._reader(place, slide).read(x, y, width, height, mpp)
        finally:
            with self._changed:
                place.users -= 1
                self._changed.notify()

    def close(self) -> None:
        """Give all files back that nobody reads from. Readers open again as they are asked for."""
        with self._changed:
            for key in [key for key, place in self._places.items() if not place.users]:
                self._places.pop(key).close()

    def renew(self) -> None:
        """With no slide open (a forked child's)."""
        self._changed = threading.Condition()
        self._places: OrderedDict[tuple[Path, float], _Place] = OrderedDict()

    def __reduce__(self) -> tuple[object, ...]:
        return ReaderPool, (self._most_open,)

    def _take(self, slide: Slide) -> _Place:
        """The slide's place, counted as used; waits where all places are in use."""
        key = (slide.path, slide.mpp)
        with self._changed:
            while (place := self._places.get(key)) is None:
                if len(self._places) < self._most_open:
                    place = self._places[key] = _Place()
                    break
                idle = next((key for key, place in self._places.items() if not place.users), None)
                if idle is None:
                    self._changed.wait()
                else:
                    self._places.pop(idle).close()
            self._places.move_to_end(key)
            place.users += 1
            return place

    def _reader(self, place: _Place, slide: Slide) -> SlideReader:
        """The place's reader, opened by the first who needs it."""
        with place.opening:
            if place.reader is None:
                key = (slide.path, slide.mpp)
                before = self._opened.get(key)
                place.reader = (
                    open_slide(slide.path, slide.mpp, self._cache)
                    if before is None
                    else open_again(before, self._cache)
                )
                self._opened[key] = place.reader.opened
            return place.reader


class _Place:
    """Room for one open slide."""

    def __init__(self) -> None:
        self.users = 0
        self.opening = threading.Lock()
        self.reader: SlideReader | None = None

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()

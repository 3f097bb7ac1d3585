"""Telling trackers of a campaign, once or until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from server.errors import TrackerError
from server.trackers.tracked import Figure, Tracked

POLL_S = 5.0


class NeedsExtra(TrackerError):  # noqa: N818 - reads as what happened
    """The tracker's library is not installed."""

    def __init__(self, library: str) -> None:
        super().__init__(
            f"{library} is not installed: run `pip install -e '.[trackers]'` in FedPath's checkout (docs/trackers.md)"
        )


class Tracker(Protocol):
    """Where the figures of one campaign go."""

    def write(self, told: Tracked) -> int:
        """Make the tracker say all of it, and say how many figures it did not have. Raises `TrackerError`.

        Whatever was interrupted before, each figure is there once afterwards.
        """
        ...


class Missing:
    """Which figures a tracker does not hold yet. Asked for what is there once, then remembered."""

    def __init__(self, held: Callable[[], set[tuple[str, int]]]) -> None:
        self._ask = held
        self._held: set[tuple[str, int]] | None = None

    def of(self, told: Tracked) -> list[Figure]:
        """Those of the campaign that are to be written."""
        if self._held is None:
            self._held = self._ask()
        return [figure for figure in told.figures if (figure.name, figure.step) not in self._held]

    def written(self, figures: Sequence[Figure]) -> None:
        """These are there now."""
        if self._held is not None:
            self._held |= {(figure.name, figure.step) for figure in figures}


def follow(
    read: Callable[[], Tracked],
    trackers: Sequence[Tracker],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[Tracked, int]]:
    """Tell all trackers of what `read` finds, again and again until the campaign has ended; yields what was told, and how
    many figures were new.
    """
    while True:
        told = read()
        yield told, sum(tracker.write(told) for tracker in trackers)
        if told.ended:
            return
        sleep(POLL_S)

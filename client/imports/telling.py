"""How someone hears how far a long import is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from privacy.progress import Tell

T = TypeVar("T")
_TIMES = 100  # at most: a bar is no finer


def told(items: Sequence[T], what: str, tell: Tell) -> Iterator[T]:
    """The items, one after the other, while `tell` hears how many are done, and at last that all are."""
    step = max(1, len(items) // _TIMES)
    for done, item in enumerate(items):
        if done % step == 0:
            tell(what, done, len(items))
        yield item
    tell(what, len(items), len(items))

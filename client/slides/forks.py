"""Objects whose locks and handles a forked child has to make anew.

A thread of the parent may hold a lock at the instant of the fork, and no thread of the child would ever release it; a
library's open handle shares its place in the file with the parent's.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewed(Protocol):
    """Something that a forked child can't use as it inherits it."""

    def renew(self) -> None:
        """Called in the child, before anything else runs there: take new locks, touch no inherited one."""


_kept: weakref.WeakSet[Renewed] = weakref.WeakSet()


def renew_in_children(what: Renewed) -> None:
    """From now on `what.renew()` runs in every child forked from this process, for as long as `what` lives."""
    _kept.add(what)


def _renew_all() -> None:
    for what in tuple(_kept):
        what.renew()


os.register_at_fork(after_in_child=_renew_all)

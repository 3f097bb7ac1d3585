"""A process and all that descend from it, some of which end while they are looked at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psutil

T = TypeVar("T")


def each(pid: int, what: Callable[[psutil.Process], T]) -> list[tuple[psutil.Process, T]]:
    """Calls `what` with process `pid` and each of its descendants, and leaves out those that are gone by then."""
    top = psutil.Process(pid)
    found = []
    for process in (top, *top.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found.append((process, what(process)))
    return found


def running(pid: int, word: str) -> list[psutil.Process]:
    """Of process `pid` and its descendants, those with `word` in their command line."""
    return [process for process, line in each(pid, psutil.Process.cmdline) if word in " ".join(line)]

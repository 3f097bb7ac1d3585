"""What a hospital's machine must have for its home: room on the disk, and a clock that is kept right.

Quick looks that load no model: `check` takes them, and the hospital's page.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from client.findings import Finding
from client.home import Home
from privacy.ledger.entries import Entry, read_time

LEAST_DISK, LITTLE_DISK = 1 << 30, 10 << 30  # bytes
BEHIND = timedelta(minutes=5)  # the ledger's last entry may lie so far ahead of a clock that is right
_LIBC = ctypes.CDLL(None, use_errno=True)
_TIME_ERROR = 5  # what adjtimex(2) returns of a clock that nothing keeps in step
_GIBIBYTE = 1 << 30


def disk(home: Home) -> Iterator[Finding]:
    """Whether the home's file system has room for ledger, checkpoints and the cache of features."""
    free = shutil.disk_usage(home.folder).free
    what = f"{free / _GIBIBYTE:.1f} GiB are free where the home lies"
    advice = "make room: the ledger, the steps of a round and the cache of features are written there"
    if free < LITTLE_DISK:
        yield Finding("disk", what, str(home.folder), advice, grave=free < LEAST_DISK)
    else:
        yield Finding("disk", what)


def clock() -> Iterator[Finding]:
    """Whether anything keeps the clock right; `gone_back` tells one that is wrong."""
    now = f"it is {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    if _synchronised():
        yield Finding("clock", f"{now}, and the kernel's clock is kept in step")
    else:
        advice = "run chrony, systemd-timesyncd or the like: certificates and daily budgets go by it"
        yield Finding("clock", f"{now} by a clock that nothing keeps in step", advice=advice)


def gone_back(last: Entry | None) -> Iterator[Finding]:
    """Whether the clock is behind a ledger's `last` entry. A ledger's time never goes back: under a clock that did, it
    stands still, and budgets a day with it.
    """
    now = datetime.now(UTC)
    if last is not None and read_time(last.at) - now > BEHIND:
        what = f"the clock says {now:%Y-%m-%d %H:%M} UTC, and the ledger's last entry is of {last.at}"
        yield Finding("clock", what, advice="set the clock", grave=True)


def _synchronised() -> bool:
    """What the kernel says of its clock; nothing is changed."""
    timex = ctypes.create_string_buffer(512)  # struct timex has 208 bytes; modes = 0 only asks
    return bool(0 <= _LIBC.adjtimex(timex) < _TIME_ERROR)

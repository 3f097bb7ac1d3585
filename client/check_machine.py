"""What a hospital's machine must have: an accelerator, room on the disk, a right clock, a sound ledger, a way to the SuperLink.

Each look says what it found, and what to do where it is not enough.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import torch

from client.findings import Finding
from client.home import Home
from client.reach import superlink_fault
from client.training.memory import gibibytes
from privacy import keys
from privacy.ledger.entries import read_time
from privacy.ledger.store import Ledger

LEAST_DISK, LITTLE_DISK = 1 << 30, 10 << 30  # bytes
BEHIND = timedelta(minutes=5)  # the ledger's last entry may lie so far ahead of a clock that is right
_LIBC = ctypes.CDLL(None, use_errno=True)
_TIME_ERROR = 5  # what adjtimex(2) returns of a clock that nothing keeps in step


def gpu(home: Home) -> Iterator[Finding]:
    """Which accelerators training will use."""
    if not torch.cuda.is_available():
        advice = "enough for the embedded base; for a larger one give the agent a GPU, and check its driver with nvidia-smi"
        yield Finding("gpu", "no CUDA device can be seen here: training takes the CPU", advice=advice)
        return
    for number in range(torch.cuda.device_count()):
        seen = torch.cuda.get_device_properties(number)
        yield Finding("gpu", f"cuda:{number} is a {seen.name} with {gibibytes(seen.total_memory)}")


def disk(home: Home) -> Iterator[Finding]:
    """Whether the home's file system has room for ledger, checkpoints and the cache of features."""
    free = shutil.disk_usage(home.folder).free
    what = f"{gibibytes(free)} are free where the home lies"
    advice = "make room: the ledger, the steps of a round and the cache of features are written there"
    if free < LITTLE_DISK:
        yield Finding("disk", what, str(home.folder), advice, grave=free < LEAST_DISK)
    else:
        yield Finding("disk", what)


def clock(home: Home) -> Iterator[Finding]:
    """Whether anything keeps the clock right; the ledger's look tells one that has gone back."""
    now = f"it is {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    if _synchronised():
        yield Finding("clock", f"{now}, and the kernel's clock is kept in step")
    else:
        advice = "run chrony, systemd-timesyncd or the like: certificates and daily budgets go by it"
        yield Finding("clock", f"{now} by a clock that nothing keeps in step", advice=advice)


def ledger(home: Home) -> Iterator[Finding]:
    """Whether all of it verifies under this hospital's key, what is left of the budget, and whether the clock has gone back.

    A ledger's time never goes back: under a clock that did, it stands still, and budgets a day with it. Raises `LedgerError`.
    """
    book, policy = Ledger(home.ledger, keys.load(home.release_key)), home.policy
    now, last = datetime.now(UTC), book.entries()[-1:]
    if last and read_time(last[0].at) - now > BEHIND:
        what = f"the clock says {now:%Y-%m-%d %H:%M} UTC, and the ledger's last entry is of {last[0].at}"
        yield Finding("clock", what, advice="set the clock", grave=True)
    spent, budget = book.epsilon(policy.delta), policy.epsilon_budget
    advice = "" if spent < budget else "no further round is answered under this policy"
    yield Finding(
        "ledger",
        f"its {len(last) and last[0].sequence} entries verify; epsilon {spent:.2f} of {budget:g} is spent",
        advice=advice,
    )


def superlink(home: Home) -> Iterator[Finding]:
    """Whether the consortium's SuperLink answers here with its own certificate; nothing is asked of it.

    Only another's certificate is grave: what does not answer now may be down, or out of an agent's reach as it should be.
    """
    address = home.kit.superlink
    fault = superlink_fault(home)
    if fault is None:
        yield Finding("superlink", f"{address} has the consortium's certificate")
    elif fault.impostor:
        yield Finding("superlink", fault.what, advice=fault.advice, grave=True)
    else:
        advice = "where the courier runs, ask with `fedpath-hospital reach`; an agent is to have no network"
        yield Finding("superlink", f"not reached from here: {fault.what}", advice=advice)


def _synchronised() -> bool:
    """What the kernel says of its clock; nothing is changed."""
    timex = ctypes.create_string_buffer(512)  # struct timex has 208 bytes; modes = 0 only asks
    return bool(0 <= _LIBC.adjtimex(timex) < _TIME_ERROR)

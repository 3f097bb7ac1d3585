"""Agent and courier as one supervised pair, for a machine on which neither containers nor systemd keep them running.

Each is started again when it ends, after a pause that doubles while it keeps ending soon. The lock is the kernel's own record
of who holds it, so a process that died holds nothing, and no number that a file remembers is ever signalled.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from client.errors import HomeError

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
STEADY = 300.0  # seconds of running after which the next end counts as the first
GRACE = {"agent": 60.0, "courier": 20.0}  # seconds between SIGTERM and SIGKILL, as in compose/hospital.yaml
_TICK = 0.1
_FLOCK = struct.Struct("hhqqi0q")  # struct flock of 64-bit Linux: type, whence, start, length, process


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Hold the lock. Raises `HomeError` where another process does."""
    with lock.open("ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HomeError(
                f"{lock}: agent and courier are started already: `fedpath-hospital stop` ends them"
            ) from None
        yield


def holder(lock: Path) -> int | None:
    """The process that holds the lock; None where nobody does."""
    try:
        with lock.open("r+b") as file:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, *_, process = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except FileNotFoundError:
        return None
    return None if kind == fcntl.F_UNLCK else int(process)


def stop(lock: Path, seconds: float) -> bool:
    """End the pair whose `start` holds the lock, and wait until it has; whether one ran. Raises `HomeError` where it stays."""
    process = holder(lock)
    if process is None:
        return False
    if process <= 0:
        raise HomeError(f"{lock}: is held on another side of a container's wall: stop it there")
    os.kill(process, signal.SIGTERM)
    end = time.monotonic() + seconds
    while holder(lock) == process:
        if time.monotonic() > end:
            raise HomeError(f"{lock}: process {process} still runs after {seconds:g} s: look at its output")
        time.sleep(_TICK)
    return True


def pause_after(ran: float, before: float) -> float:
    """How long to wait before a process is started again that ran for `ran` seconds, and had to wait `before` last time."""
    return FIRST_PAUSE if ran >= STEADY or before == 0 else min(2 * before, LONGEST_PAUSE)


@dataclass
class _Kept:
    """One process that is kept running."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    due: float = 0.0
    waited: float = field(default=0.0)


def keep_running(
    commands: dict[str, Sequence[str]], ending: Callable[[], bool], say: Callable[[str], None]
) -> None:
    """Run the commands, by name and in order, until `ending`; then end them, the last one first."""
    kept = [_Kept(name, command) for name, command in commands.items()]
    try:
        while not ending():
            for one in kept:
                _look_after(one, say)
            time.sleep(_TICK)
    finally:
        for one in reversed(kept):
            _end(one, say)


def _look_after(one: _Kept, say: Callable[[str], None]) -> None:
    now = time.monotonic()
    if one.process is not None and one.process.poll() is not None:
        one.waited = pause_after(now - one.began, one.waited)
        one.due = now + one.waited
        say(f"{one.name} ended with status {one.process.returncode}: started again in {one.waited:g} s")
        one.process = None
    if one.process is None and now >= one.due:
        one.began = now
        one.process = subprocess.Popen(one.command, stdin=subprocess.DEVNULL, start_new_session=True)
        say(f"{one.name} started as process {one.process.pid}")


def _end(one: _Kept, say: Callable[[str], None]) -> None:
    if one.process is None or one.process.poll() is not None:
        return
    one.process.terminate()
    try:
        one.process.wait(GRACE.get(one.name, 20.0))
    except subprocess.TimeoutExpired:
        os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()
    say(f"{one.name} stopped")


def commands_of(home: Path, gpus: int) -> dict[str, Sequence[str]]:
    """How agent and courier of this home are run from this installation."""
    program = str(Path(sys.prefix) / "bin" / "fedpath-hospital")
    return {
        "agent": (program, "agent", str(home), "--gpus", str(gpus)),
        "courier": (program, "courier", str(home)),
    }

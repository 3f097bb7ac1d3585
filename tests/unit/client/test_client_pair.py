"""`start` and `stop`: two processes kept running, and ended, with real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from client import pair
from client.errors import HomeError

_KEEPER = """
import signal, sys
from pathlib import Path
from client import pair
pair.FIRST_PAUSE = 0.05
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
folder = Path(sys.argv[1])
mark = "echo $$ >> {}; trap 'echo ended >> {}; exit 0' TERM; {}"
stays = "while :; do sleep 0.05; done"
with pair.held(folder / "pair.lock"):
    pair.keep_running(
        {
            "agent": ("sh", "-c", mark.format(folder / "agent", folder / "agent", stays)),
            "courier": ("sh", "-c", mark.format(folder / "courier", folder / "courier", "sleep 0.1; exit 3")),
        },
        lambda: bool(told),
        lambda words: print(words, flush=True),
    )
"""


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def test_a_pair_is_kept_running_and_ended_by_stop(tmp_path: Path) -> None:
    """Catches a courier that stays dead, one that takes the agent with it, and a stop that leaves either behind."""
    lock = tmp_path / "pair.lock"
    assert not pair.stop(lock, 1)
    keeper = subprocess.Popen(
        [sys.executable, "-c", _KEEPER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    until(lambda: len(lines(tmp_path / "courier")) >= 3 and bool(lines(tmp_path / "agent")))
    assert pair.holder(lock) == keeper.pid
    with pytest.raises(HomeError, match="started already"), pair.held(lock):
        pass
    assert pair.stop(lock, 30)
    said, _ = keeper.communicate(timeout=30)
    assert keeper.returncode == 0
    assert lines(tmp_path / "agent")[1:] == ["ended"], "started once, and asked before it was made to"
    assert "courier ended with status 3" in said
    assert pair.holder(lock) is None


def test_a_dead_start_holds_nothing(tmp_path: Path) -> None:
    """Catches a stop that signals a number out of a file, which by then may be anybody's."""
    lock = tmp_path / "pair.lock"
    lock.write_text("1\n")
    assert pair.holder(lock) is None
    assert not pair.stop(lock, 1)


def test_who_keeps_ending_soon_waits_longer_and_longer() -> None:
    """Catches a courier that is started a thousand times a minute against a coordinator that is down."""
    waited, waits = 0.0, []
    for _ in range(8):
        waited = pair.pause_after(0.5, waited)
        waits.append(waited)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pair.pause_after(pair.STEADY, waited) == pair.FIRST_PAUSE

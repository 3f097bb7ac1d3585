"""What a courier reports of its confinement when it is started again and again, and how its SuperNode ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from client.courier import ENDS_WHOLLY, courier
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]


def test_a_report_is_of_the_last_start_alone(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a report that grows, by old words or by the room that they took, each time a SuperNode is refused;
    a courier that is taken for dead while it lives, or for alive when it is gone.
    """
    starts: list[int] = []
    home = house().home

    def run(
        view: object, command: object, environment: object, say: Callable[[str], None], told: object
    ) -> int:
        if (child := os.fork()) == 0:  # as the confined process does
            say("own file system")
            os._exit(0)
        os.waitpid(child, 0)
        starts.append(child)
        assert home.courier_lives()
        if len(starts) == 3:
            raise KeyboardInterrupt
        return 1

    monkeypatch.setattr("client.courier.run", run)
    with pytest.raises(KeyboardInterrupt):
        courier(home, pause=lambda seconds: None)
    assert home.courier_report.read_text() == "own file system\n"
    assert not home.courier_lives()


@pytest.mark.parametrize(
    ("last", "status"),
    [("raise OSError('expired')", 1), ("sys.exit(None)", 1), ("pass", 1), ("sys.exit(3)", 3)],
)
def test_a_supernode_whose_work_is_over_ends(tmp_path: Path, last: str, status: int) -> None:
    """Catches one that leaves its threads behind: alive to whoever watches it, and connected to nobody."""
    lingers = "threading.Thread(target=threading.Event().wait).start()"
    script = f"import sys, threading\nassert sys.argv[1:] == ['--port', '7']\n{lingers}\n{last}\n"
    (tmp_path / "node").write_text(script)
    command = [sys.executable, "-P", "-c", ENDS_WHOLLY, str(tmp_path / "node"), "--port", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert ("OSError: expired" in done.stderr) is ("OSError" in last)

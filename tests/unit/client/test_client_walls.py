"""A courier that is told it is contained: it starts where every wall stands, and nowhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.courier import contained_courier
from client.errors import HomeError
from client.walls import MOUNTED, Surroundings, gaps
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]
CONTAINED = Surroundings(
    home=MOUNTED,
    user=10002,
    capabilities=0,
    no_new_privileges=True,
    read_only_root=True,
    others=0,
)


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ({"home": CONTAINED.home | {"keys"}}, "keys of the home"),
        ({"home": CONTAINED.home | {"ledger.db", "hospital.toml"}}, "hospital.toml, ledger.db of the home"),
        ({"home": CONTAINED.home | {"trust/successors.json"}}, "trust/successors.json of the home"),
        ({"home": CONTAINED.home | {"trust"}}, "trust of the home"),
        ({"user": 0}, "runs as root"),
        ({"capabilities": 1 << 21}, "capabilities"),
        ({"no_new_privileges": False}, "no-new-privileges"),
        ({"read_only_root": False}, "read-only"),
        ({"others": 1}, "process ids"),
    ],
)
def test_each_missing_wall_is_named(missing: dict[str, Any], named: str) -> None:
    """Catches a wall that nobody looks for."""
    assert gaps(CONTAINED) == ()
    (found,) = gaps(replace(CONTAINED, **missing))
    assert named in found


def test_on_a_plain_machine_nothing_is_started(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a courier that believes what it is told, and runs the coordinator's code beside keys and ledger."""
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("the SuperNode was started"))
    home = house().home
    with pytest.raises(HomeError, match=r"keys.*of the home can be seen") as caught:
        contained_courier(home)
    assert "start it without --contained" in str(caught.value)
    monkeypatch.setenv("FEDPATH_CONTAINED", "1")
    done = CliRunner().invoke(app, ["courier", str(home.folder)])
    assert done.exit_code == 2
    assert "told that it is contained, and it is not" in done.output


@pytest.fixture
def three() -> Iterator[Path]:
    """What a courier's container mounts of a home, for a user who is not root."""
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    folder.chmod(0o755)
    for name in ("courier", "socket", "trust"):
        (folder / name).mkdir()
        (folder / name).chmod(0o755)
    for name in ("kit.json", "coordinator.pub"):
        (folder / "trust" / name).touch()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="builds the walls as root")
@pytest.mark.parametrize("without", [None, "others", "root", "privileges", "capabilities"])
def test_walls_are_seen_for_real(three: Path, without: str | None) -> None:
    """Catches a look that reports a wall where none is, on the kernel that runs here."""
    drop = "" if without == "capabilities" else "for n in range(64): libc.prctl(24, n, 0, 0, 0)"
    privileges = "" if without == "privileges" else "libc.prctl(38, 1, 0, 0, 0)"
    code = f"""
import ctypes, os, sys
from pathlib import Path
from client.home import Home
from client.walls import gaps, look_around
libc = ctypes.CDLL(None)
{drop}
{privileges}
os.setgroups([]); os.setresgid(10002, 10002, 10002); os.setresuid(10002, 10002, 10002)
print(*gaps(look_around(Home(Path(sys.argv[1])))), sep="\\n")
"""
    read_only = "true" if without == "root" else "mount -o remount,bind,ro /"
    processes = [] if without == "others" else ["--pid", "--fork", "--mount-proc"]
    script = f'{read_only}; exec "$0" -c "$1" "$2"'  # a shell of root's that stayed would be seen
    command = ["unshare", "--mount", *processes, "sh", "-ec", script, sys.executable, code, str(three)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "unshare" in done.stderr:
        pytest.skip(f"no namespaces here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    words = {
        "others": "process ids",
        "root": "read-only",
        "privileges": "no-new-",
        "capabilities": "bounding set",
    }
    found = done.stdout.split("\n")[:-1]
    assert found == [""] if without is None else (len(found) == 1 and words[without] in found[0]), found

"""The kernel's walls: what a confined process sees, and what the agent's cut achieves. Each runs for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """
import json, os, socket, sys
def can(act):
    try: act()
    except OSError: return False
    return True
home = sys.argv[1]
print(json.dumps({
    "secret": can(lambda: open(home + "/keys/release.key")),
    "home": sorted(os.listdir(home)),
    "own": can(lambda: open(home + "/courier/note", "w").write("x")),
    "installation": can(lambda: open(sys.prefix + "/note", "w").write("x")),
    "root": can(lambda: os.mkdir("/anywhere")),
    "user": os.getuid(),
    "processes": len([p for p in os.listdir("/proc") if p.isdigit()]),
    "capabilities": int(open("/proc/self/status").read().split("CapEff:")[1].split()[0], 16),
    "environment": sorted(os.environ),
}))
"""

DRIVE = """
import json, os, sys
from pathlib import Path
from client.confine import View, run
home, user = Path(sys.argv[1]), int(sys.argv[2]) or None
python = tuple(dict.fromkeys(Path(p).resolve() for p in (sys.prefix, sys.base_prefix)))
report = open(sys.argv[3], "w")
def say(words):
    report.write(words); report.flush()
view = View(python, (home / "courier",), user)
command = [sys.prefix + "/bin/python", "-c", sys.argv[4], str(home)]
sys.exit(run(view, command, {"ONLY": "this"}, say))
"""


def _confined(tmp_path: Path, user: int, umask: int = 0o022) -> tuple[dict[str, object], str]:
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True, exist_ok=True)
    (home / "courier").mkdir(exist_ok=True)
    (home / "keys" / "release.key").write_text("secret")
    os.chown(home / "courier", user or os.getuid(), -1)
    arguments = [sys.executable, "-c", DRIVE, str(home), str(user), str(tmp_path / "report"), LOOK]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, umask=umask)
    report = (tmp_path / "report").read_text()
    if not report.startswith("own file system"):
        pytest.skip(f"no namespaces here, and it says so: {report}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), report


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("umask", [0o022, 0o077], ids=["open", "closed"])
def test_a_confined_process_sees_its_own_folder_and_nothing_else_of_the_home(
    tmp_path: Path, umask: int
) -> None:
    """Catches a wall with a hole: the home's other folders, the installation, other processes, root's rights; and
    one that a strict umask shuts before the courier's own user.
    """
    seen, report = _confined(tmp_path, 61200, umask)
    assert report == "own file system, own processes, user 61200"
    assert seen == {
        "secret": False,
        "home": ["courier"],
        "own": True,
        "installation": False,
        "root": False,
        "user": 61200,
        "processes": 1,
        "capabilities": 0,
        "environment": [*(["LC_CTYPE"] if "LC_CTYPE" in seen["environment"] else []), "ONLY"],  # type: ignore[operator]
    }


@pytest.mark.parametrize("signal", ["TERM", "INT", "KILL"])
def test_the_command_does_not_outlive_its_starter(signal: str, tmp_path: Path) -> None:
    """Catches a SuperNode that goes on, with the hospital's name, after its courier was ended."""
    (tmp_path / "home" / "courier").mkdir(parents=True)
    user = "61200" if os.geteuid() == 0 else "0"
    os.chown(tmp_path / "home" / "courier", int(user) or os.getuid(), -1)
    wait = f"import time; print('up', flush=True); time.sleep(300)  # {tmp_path}"
    arguments = [sys.executable, "-c", DRIVE, str(tmp_path / "home"), user, str(tmp_path / "report"), wait]
    starter = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    assert starter.stdout.readline() == "up\n"
    starter.send_signal({"TERM": 15, "INT": 2, "KILL": 9}[signal])
    assert starter.stdout.read() == "", "the pipe closes when the last process that holds it has ended"
    starter.wait(30)


def test_a_cut_process_reaches_no_network_and_says_so() -> None:
    """Catches a cut that leaves a way out, or a report that promises more than was done."""
    code = """
import json, socket
from client.network import cut_network
done = cut_network()
with socket.socket() as probe:
    probe.settimeout(2)
    reached = [a for a in ("127.0.0.1", "192.0.2.1") if probe.connect_ex((a, 1)) == 111]
print(json.dumps({"cut": done.cut, "words": done.words, "interfaces": [n for _, n in socket.if_nameindex()], "reached": reached}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    seen = json.loads(done.stdout)
    if not seen["cut"]:
        assert seen["words"].startswith("NOT cut off")
        pytest.skip(seen["words"])
    assert seen["interfaces"] == ["lo"]
    assert seen["reached"] == []


def test_a_cut_that_comes_too_late_is_not_claimed() -> None:
    """Catches "cut off" where a thread that was started before still has the network."""
    code = """
import threading
from client.network import cut_network
held = threading.Event()
threading.Thread(target=held.wait).start()
print(cut_network().cut)
held.set()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False"

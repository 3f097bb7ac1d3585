"""Run the courier: Flower's SuperNode, confined, started again when it ends.

A SuperNode that is started again soon after it was killed is refused until the SuperLink has missed its
heartbeats, and ends; so it is started again until it is taken. In a container or a unit that confines it, whoever
keeps that running does so.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from client.confine import View, run
from client.errors import HomeError
from client.events import SupernodeEnded
from client.home import Home
from client.walls import gaps, look_around
from privacy.enrolment import node_key
from privacy.events import Seconds, Status, tell

PAUSE_SECONDS = 5.0
# After an error that it does not foresee (a certificate that has just expired) Flower's SuperNode stops its work, and threads
# of its own keep the process: alive to whoever watches it, connected to nobody. What ends is started anew; so it has to end.
ENDS_WHOLLY = """\
import os, runpy, sys, traceback
sys.argv, status = sys.argv[1:], 1
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    status = end.code if isinstance(end.code, int) else 1
except BaseException:
    traceback.print_exc()
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)
"""


def courier(home: Home, pause: Callable[[float], None] = time.sleep) -> None:
    """Keep a confined SuperNode connected to the consortium's SuperLink until this process is told to end.

    Raises `HomeError` where the home is not joined, or lies where the courier would see into it, `EnrolmentFileError` where
    its kit has expired, `KeyFileError` where others can read its key.
    """
    superlink = _superlink(home)
    python = tuple(dict.fromkeys(Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)))
    for shown in (*python, Path("/usr")):
        if home.folder.resolve().is_relative_to(shown):
            raise HomeError(f"{home.folder}: lies in {shown}, which the courier can read: move the home")
    view = View(python, (home.courier, home.socket.parent), home.courier_user)
    ended: list[int] = []
    with home.courier_report.open("a") as report:  # appended, so that what is cut off stays so
        with suppress(BlockingIOError):  # of another courier, which Flower will refuse
            fcntl.flock(report, fcntl.LOCK_EX | fcntl.LOCK_NB)

        def say(words: str) -> None:
            report.write(words + "\n")
            report.flush()

        while not ended:
            report.truncate(0)
            status = run(view, _command(home, superlink), _environment(home), say, ended.append)
            if not ended:
                tell(SupernodeEnded(Status(status), Seconds(PAUSE_SECONDS)))
                pause(PAUSE_SECONDS)


def contained_courier(home: Home) -> NoReturn:
    """Become a SuperNode, in a container or a unit that is its confinement already.

    Nothing is started, and an error raised, where a wall is missing (`HomeError`), or as `courier` does.
    """
    if missing := gaps(look_around(home)):
        raise HomeError(
            f"{home.folder}: the courier is told that it is contained, and it is not: {'; '.join(missing)}. Mend "
            "that, or start it without --contained (FEDPATH_CONTAINED), and it confines itself"
        )
    command = _command(home, _superlink(home))
    os.execve(command[0], command, _environment(home))  # noqa: S606 - an argument list of our own


def _superlink(home: Home) -> str:
    """Where it is, by a kit that is good still; the node key is looked at besides."""
    kit = home.kit
    kit.check_fresh(datetime.now(UTC))
    node_key.load(home.node_key)
    return kit.superlink


def _command(home: Home, superlink: str) -> list[str]:
    return [
        *(sys.executable, "-P", "-c", ENDS_WHOLLY, str(Path(sys.prefix) / "bin" / "flower-supernode")),
        *("--superlink", superlink),
        *("--root-certificates", str(home.courier / "ca.crt")),
        *("--auth-supernode-private-key", str(home.node_key)),
        *("--node-config", f"agent-socket={json.dumps(str(home.socket))}"),
        *("--port", str(_free_port())),
    ]


def _environment(home: Home) -> dict[str, str]:
    """All that the SuperNode learns of this process' environment."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), "/usr/bin", "/bin"]),
        "HOME": str(home.courier),
        "FLWR_HOME": str(home.courier / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
        "PYTHONUNBUFFERED": "1",
    }


def _free_port() -> int:
    """A free port on loopback for the SuperNode's own processes to talk to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""A federation's programs as child processes: start, wait until ready, look at, stop.

Used by the demo, the end-to-end tests and the benchmark. Each child has a log file and a session of its own;
it is told to end when this process ends, however that ends. Start children from the main thread: the kernel
ties them to the thread that started them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from client.home import Home
from client.rpc import AgentUnreachableError, call
from server.loopback import accepts

ROOT = Path(__file__).resolve().parent.parent
# Several torch processes share the cores: with GNU OpenMP spinning, each ran four times slower.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

# The child itself asks to be ended with its parent, then becomes the command.
_TIED = (
    "import ctypes, importlib, sys; ctypes.CDLL(None).prctl(1, 15, 0, 0, 0); sys.argv = sys.argv[1:]; "
    "sys.path.insert(0, ''); importlib.import_module(sys.argv[0]).app()"
)
_GRACE_SECONDS = 15.0


class ProcessError(Exception):
    """A child ended or did not get ready; the message holds the end of its log."""


@dataclass(frozen=True)
class Child:
    """A running program and where it writes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self, lines: int = 25) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Processes:
    """Children that end together, in reverse order of starting. Use it in a `with` block."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._children: list[Child] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] = ENVIRONMENT,
        within: Sequence[str] = (),
    ) -> Child:
        """Start a command (the module of its Typer app, then arguments), its output added to `<name>.log`; `within` is another
        program, with arguments, that becomes it.
        """
        path = self._logs / f"{name}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                [*within, sys.executable, "-c", _TIED, *command],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name, process, path)
        self._children.append(child)
        return child

    def stop(self, *children: Child) -> None:
        """End children (all, if none is named), one after the other: asked first, then made to."""
        for child in [child for child in reversed(self._children) if not children or child in children]:
            if child.process.poll() is None:
                child.process.terminate()
            try:
                child.process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
            self._children.remove(child)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wait_until(ready: Callable[[], bool], child: Child, seconds: float) -> None:
    """Wait for `ready`. Raises `ProcessError` when the child ends first or the time is up."""
    end = time.monotonic() + seconds
    while not ready():
        if child.process.poll() is not None:
            raise ProcessError(f"{child.name} ended with status {child.process.returncode}:\n{child.tail()}")
        if time.monotonic() > end:
            raise ProcessError(f"{child.name} was not ready after {seconds:g} s:\n{child.tail()}")
        time.sleep(0.1)


def start_superlink(processes: Processes, consortium: Path, port: int) -> Child:
    """Start the consortium's SuperLink and wait until it accepts connections.

    One that a killed demo left behind may still be ending: its port is waited for.
    """
    end = time.monotonic() + _GRACE_SECONDS
    while accepts(port) and time.monotonic() < end:
        time.sleep(0.2)
    child = processes.start("superlink", ["server.cli", "start", str(consortium)])
    wait_until(lambda: accepts(port), child, 120)
    return child


def start_agent(processes: Processes, home: Home, environment: Mapping[str, str] = ENVIRONMENT) -> Child:
    """Start a hospital's agent; it is ready when `status_of` answers (`wait_for_agent`)."""
    return processes.start(
        f"{home.settings.name}-agent", ["client.cli", "agent", str(home.folder)], environment
    )


def wait_for_agent(home: Home, child: Child, seconds: float = 600) -> None:
    """Wait until the agent has loaded its base and read its slides, and serves."""
    wait_until(lambda: status_of(home) is not None, child, seconds)


def start_courier(processes: Processes, home: Home, within: Sequence[str] = ()) -> Child:
    """Start a hospital's courier and wait until it said how it is confined.

    A campaign's first round waits until it is connected.
    """
    home.courier_report.unlink(missing_ok=True)
    command = ["client.cli", "courier", str(home.folder)]
    child = processes.start(f"{home.settings.name}-courier", command, within=within)
    report = home.courier_report
    wait_until(lambda: report.exists() and report.read_text().endswith("\n"), child, 120)
    return child


def status_of(home: Home) -> dict[str, Any] | None:
    """What the hospital's agent does now; None where there is no agent yet."""
    if not home.status_socket.exists():
        return None
    try:
        status: dict[str, Any] = json.loads(call(home.status_socket, "status", b"", timeout=5))
    except AgentUnreachableError:
        return None
    return status

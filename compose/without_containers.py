"""The services of a compose file as plain processes, for a machine without a container engine.

    .venv/bin/python compose/without_containers.py compose/hospital.yaml LOGS [SERVICE ...]

The compose file is the one source of commands, their order, health checks, restarts and grace periods; what it says of
users, mounts and limits is the engine's and is left out: processes run as whoever starts this, and agent and courier
confine themselves. Services with a profile are started where they are named. Variables come from the environment.
Each service writes to LOGS/<service>.log (0600). SIGTERM and Ctrl-C end all, in reverse order.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_TICK = 0.2
_PAUSE = 5.0  # before a service is started again, or asked again how it is
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<how>:-|:\?)(?P<word>[^}]*))?\})")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class StackError(Exception):
    """The compose file can't be run so; the message says what, where and what to do."""


@dataclass(frozen=True)
class Service:
    """One service of the file, as far as a plain process goes."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    waits_for: tuple[str, ...]  # those that must be healthy first
    health: tuple[str, ...]
    restart: str
    grace: float  # seconds between SIGTERM and SIGKILL


def filled_in(text: str, variables: Mapping[str, str]) -> str:
    """A compose file's value with its variables: `${NAME}`, `${NAME:-default}`, `${NAME:?what it is}`; `$$` is a $.

    Raises `StackError` for one that is not set and has no default.
    """

    def value(found: re.Match[str]) -> str:
        name, how, word = found["name"], found["how"], found["word"]
        if name is None:
            return "$"
        if given := variables.get(name):
            return given
        if how == ":-":
            return str(word)
        raise StackError(f"{name} is not set{f' ({word})' if word else ''}: put it into the environment")

    return _VARIABLE.sub(value, text)


def services(file: Path, asked: Sequence[str], variables: Mapping[str, str]) -> list[Service]:
    """The services to start, in order. Raises `StackError`."""
    try:
        found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text("utf-8"))["services"]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise StackError(f"{file}: no compose file: {error}") from None
    if unknown := sorted(set(asked) - set(found)):
        raise StackError(f"{file}: has no service {', '.join(unknown)}: it has {', '.join(sorted(found))}")
    ordered: list[str] = []

    def add(name: str) -> None:
        for other in found[name].get("depends_on", ()):
            add(other)
        if name not in ordered:
            ordered.append(name)

    for name in asked or [name for name, body in found.items() if "profiles" not in body]:
        add(name)
    return [_service(name, found[name], variables) for name in ordered]


def _service(name: str, body: Mapping[str, Any], variables: Mapping[str, str]) -> Service:
    waits = body.get("depends_on", {})
    healthy = [other for other in waits if isinstance(waits, dict) and "healthy" in waits[other]["condition"]]
    kind, *health = body["healthcheck"]["test"]
    if kind != "CMD":
        raise StackError(f"service {name}: its health check is no plain command (CMD)")
    return Service(
        name,
        _command(body["command"], variables),
        {key: filled_in(str(word), variables) for key, word in body.get("environment", {}).items()},
        tuple(healthy),
        _command(health, variables),
        body["restart"],
        float(body["stop_grace_period"][:-1]) * _UNITS[body["stop_grace_period"][-1]],
    )


def _command(words: Sequence[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    program, *arguments = (filled_in(str(word), variables) for word in words)
    return (str(Path(sys.prefix) / "bin" / program), *arguments)


class Stack:
    """Services that run."""

    def __init__(self, logs: Path, ending: Callable[[], bool]) -> None:
        self._logs, self._ending = logs, ending
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._running: dict[str, tuple[Service, subprocess.Popen[bytes]]] = {}
        self._failed = False

    def run(self, wanted: Sequence[Service]) -> int:
        """Start all, keep them running as their restart policies say, and end them when told; returns the exit status:
        1 where one failed for good.
        """
        try:
            for service in wanted:
                while not self._ending() and not self._healthy(wanted, service.waits_for):
                    self._look_after(_PAUSE)
                self._start(service)
            while self._running and not self._ending():
                self._look_after(_TICK)
        finally:
            self._stop(wanted)
        return int(self._failed)

    def _start(self, service: Service) -> None:
        if self._ending():
            return
        log = os.open(
            self._logs / f"{service.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600
        )
        try:
            process = subprocess.Popen(
                service.command,
                env={**os.environ, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0),  # noqa: PLW1509 - one thread
            )
        except OSError as error:
            raise StackError(f"service {service.name}: {service.command[0]}: {error.strerror}") from None
        finally:
            os.close(log)
        self._running[service.name] = (service, process)
        _say(f"{service.name} started as process {process.pid}")

    def _healthy(self, wanted: Sequence[Service], names: Sequence[str]) -> bool:
        checks = [service.health for service in wanted if service.name in names]
        return all(subprocess.run(check, capture_output=True).returncode == 0 for check in checks)

    def _look_after(self, seconds: float) -> None:
        """For so long, see to it that what ended is started again, where its policy says so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._ending():
            for service, process in list(self._running.values()):
                if process.poll() is not None:
                    self._ended(service, process)
                    break  # what runs has changed
            time.sleep(_TICK)

    def _ended(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):  # what it started ends with it, as in a container
            os.killpg(process.pid, signal.SIGKILL)
        del self._running[service.name]
        again = service.restart == "unless-stopped" or (
            service.restart == "on-failure" and process.returncode
        )
        _say(
            f"{service.name} ended with status {process.returncode}{'; it is started again' if again else ''}"
        )
        if again:
            self._look_after(_PAUSE)
            self._start(service)
        else:
            self._failed |= process.returncode != 0

    def _stop(self, wanted: Sequence[Service]) -> None:
        """End what runs, in reverse order: asked first, then made to."""
        for service in reversed(wanted):
            if service.name not in self._running:
                continue
            _, process = self._running.pop(service.name)
            process.terminate()
            try:
                process.wait(service.grace)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            _say(f"{service.name} stopped")


def _say(words: str) -> None:
    print(words, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the stack that the arguments name, until it ends or is told to."""
    if len(arguments) < 2:
        _say(f"usage: {Path(sys.argv[0]).name} COMPOSE-FILE LOGS [SERVICE ...]")
        return 2
    file, logs, *asked = arguments
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: told.append(number))
    try:
        return Stack(Path(logs), lambda: bool(told)).run(services(Path(file), asked, os.environ))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

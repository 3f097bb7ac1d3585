"""Peers that can't share this project's dependencies: each in a virtual environment of its own, as a process.

An environment holds what the peer pins otherwise than the project; the rest, torch and numpy above all, it takes from
the project's environment, so that both sides compute with the same libraries.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

BUILD = Path(__file__).parents[2] / "build" / "bench"
INSTALL_SECONDS = 300


class PeerError(Exception):
    """A peer can't be had here; the message says why."""


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The Python of an environment with just these pinned requirements, made where it is not there yet.

    Raises `PeerError` where it can't be made: no package index, say.
    """
    folder = BUILD / name
    python = folder / "bin" / "python"
    stamp = folder / "installed.txt"
    wanted = "\n".join(requirements)
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    run([sys.executable, "-m", "venv", "--clear", str(folder)])
    run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", *requirements])
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")  # searched after the peer's own
    stamp.write_text(wanted)
    return python


class Peer:
    """A script beside this file, run by the peer's Python: for every line that it reads it does its work once and
    answers with the CPU seconds that it took.

    Raises `PeerError` where the script can't do it once.
    """

    def __init__(self, python: Path, script: Path, *arguments: object) -> None:
        command = [str(python), "-W", "ignore", str(Path(__file__).parent / script), *map(str, arguments)]
        # Not a pipe: it would stop a talkative peer once full.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by _stop
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "HF_HUB_OFFLINE": "1"},
            )
        except OSError as error:
            raise PeerError(str(error)) from error
        try:
            self.seconds()
        except PeerError:
            self._stop()
            raise

    def seconds(self) -> float:
        """Once more."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            return float(self._process.stdout.readline())
        except (OSError, ValueError):  # it ended: a closed pipe, or an empty line
            self._process.kill()
            self._process.wait()
            self._said.seek(0)
            raise PeerError(_last(self._said.read())) from None

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()


def run(command: Sequence[str]) -> None:
    """Run to the end.  Raises `PeerError`, with the last line that it said, where that is no good one."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(str(error)) from error
    if done.returncode:
        raise PeerError(_last(done.stderr or done.stdout))


def _last(said: str) -> str:
    lines = said.strip().splitlines()
    return lines[-1] if lines else "it ended without a word"

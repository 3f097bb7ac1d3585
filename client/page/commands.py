"""A command of `fedpath-hospital` run for the page, in a process of its own: what needs a key has it there, for that moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from client.errors import ClientError
from privacy.printable import printable

_SECONDS = 120
_PROGRAM = "from client.cli import app; app()"


class CommandError(ClientError):
    """A command that did not do what it was asked; the message is its own."""


def run(*words: str) -> None:
    """Run it. Raises `CommandError`. The words stand among the machine's processes while it runs: nothing private in them."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            cwd=Path(__file__).parents[2],
        )
    except subprocess.TimeoutExpired:
        raise CommandError(
            f"`fedpath-hospital {words[0]}` did not end in {_SECONDS} s: run it by hand"
        ) from None
    if done.returncode != 0:
        said = printable(done.stderr.decode("utf-8", "replace").strip().removeprefix("error: "))
        raise CommandError(said or f"`fedpath-hospital {words[0]}` failed: run it by hand")

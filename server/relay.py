"""How a ServerApp's events come into the log of `start`: Flower keeps the standard error of the processes that it starts to
itself, so they write to a file in the home, and `start` passes it on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from privacy.events import ELSEWHERE, ENVIRONMENT, wants_json

_BYTES = 1 << 20  # what was passed on is thrown away from then on


class Relay:
    """A file that others add lines to; empty at first, for what a dead `start` left has no reader any more."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        path.unlink(missing_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    @property
    def environment(self) -> Mapping[str, str]:
        """What has a process write there, in this process' form."""
        return {ELSEWHERE: str(self._path), ENVIRONMENT: "json" if wants_json() else "text"}

    def pass_on(self) -> None:
        """Write the whole lines that are new to standard error. What can't be read or written is lost."""
        with suppress(OSError, ValueError):
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            lines = new[: new.rfind(b"\n") + 1]
            self._read += len(lines)
            sys.stderr.write(lines.decode("utf-8", "replace"))
            sys.stderr.flush()
            if self._read > _BYTES and self._read == self._path.stat().st_size:
                os.truncate(self._path, 0)
                self._read = 0

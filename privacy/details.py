"""Details: what a daemon's own log must not say, kept in a file that stays in the home.

Everything that says something in free words through `logging` (our own modules, libraries, warnings, exceptions that
nobody caught) is written there, and never to standard error. The file is its user's alone (0600) and bounded: at
_BYTES it becomes `<name>.1`, in the place of the one before.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from privacy.events import Crashed, StartRefused, incident, tell, wants_json
from privacy.printable import printable

_BYTES = 1 << 20
_LONGEST = 1 << 16  # letters of one record
_LOG = logging.getLogger("fedpath")


def keep_details(path: Path) -> None:
    """From here on this process' free words go to `path`. Raises `OSError` where it can't be written."""
    handler = _Bounded(path, maxBytes=_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Cut("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


@contextmanager
def start_told(*refusals: type[Exception]) -> Iterator[None]:
    """A daemon that can't start for one of `refusals` ends with status 1: its words stand among the details, and on the
    terminal, where there is one.
    """
    try:
        yield
    except refusals as error:
        number = incident()
        _LOG.error("%s: can't start: %s", number, error)
        tell(StartRefused(number))
        if not wants_json() and sys.stderr.isatty():
            sys.stderr.write("error: " + "\n".join(map(printable, str(error).split("\n"))) + "\n")
        raise SystemExit(1) from None


class _Bounded(RotatingFileHandler):
    """0600, no link followed; and silent where the disk is full: `logging` would write the record to standard error."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(
            self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        os.fchmod(descriptor, 0o600)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Lose the record."""


class _Cut(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record)[:_LONGEST]


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    number = incident()
    _LOG.critical("%s: nobody caught this", number, exc_info=(kind, error, trace))
    tell(Crashed(number))

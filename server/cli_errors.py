"""How the consortium's commands tell what went wrong."""

from __future__ import annotations

from contextlib import AbstractContextManager

from privacy import command_line
from privacy.errors import PrivacyError
from server.errors import ServerError


def told_plainly() -> AbstractContextManager[None]:
    """An error of ours, or a file that can't be read or written, ends the command with its message alone."""
    return command_line.told_plainly(ServerError, PrivacyError)

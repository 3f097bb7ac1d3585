"""How commands tell what went wrong."""

from __future__ import annotations

from contextlib import AbstractContextManager

from privacy import command_line


def told_plainly() -> AbstractContextManager[None]:
    """An error of ours, or a file that can't be read or written, ends the command with its message alone."""
    from client.errors import ClientError
    from client.rpc import AgentUnreachableError
    from privacy.errors import PrivacyError

    return command_line.told_plainly(ClientError, PrivacyError, AgentUnreachableError)

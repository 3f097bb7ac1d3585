"""How commands tell what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def told_plainly() -> Iterator[None]:
    """An error of ours ends the command with its message alone."""
    from client.errors import ClientError
    from client.rpc import AgentUnreachableError
    from privacy.errors import PrivacyError
    from privacy.printable import printable

    try:
        yield
    except (ClientError, PrivacyError, AgentUnreachableError) as error:
        typer.echo(f"error: {printable(str(error))}", err=True)
        raise typer.Exit(1) from None

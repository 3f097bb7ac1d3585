"""How the consortium's commands tell what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from privacy.errors import PrivacyError
from privacy.printable import printable
from server.errors import ServerError


@contextmanager
def told_plainly() -> Iterator[None]:
    """An error of ours ends the command with its message alone."""
    try:
        yield
    except (ServerError, PrivacyError) as error:
        typer.echo(f"error: {printable(str(error))}", err=True)
        raise typer.Exit(1) from None

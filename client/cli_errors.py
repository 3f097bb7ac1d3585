"""How commands tell what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def told_plainly() -> Iterator[None]:
    """An error of ours, or a file that can't be read or written, ends the command with its message alone."""
    from client.errors import ClientError
    from client.rpc import AgentUnreachableError
    from privacy.errors import PrivacyError

    try:
        yield
    except (ClientError, PrivacyError, AgentUnreachableError) as error:
        typer.echo(f"error: {plain(str(error))}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(f"error: {plain(str(error.filename))}: {error.strerror}", err=True)
        raise typer.Exit(1) from None


def plain(text: str) -> str:
    """Lines of text, fit for a terminal: names of files and cells of tables are anyone's bytes."""
    from privacy.printable import printable

    return "\n".join(map(printable, text.split("\n")))

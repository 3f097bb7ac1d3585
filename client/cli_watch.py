"""`fedpath-hospital metrics` and `fedpath-hospital health`: the agent as monitoring sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly

HomeArgument = Annotated[Path, typer.Argument(help="the hospital's home folder")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def metrics(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Print the agent's figures for monitoring, in Prometheus' text form: those that it writes to metrics/ in the home."""
    from client.home import Home
    from client.rpc import call
    from privacy.exposition import as_values

    with told_plainly():
        text = call(Home(home.absolute()).status_socket, "metrics", b"", timeout=10).decode()
    typer.echo(json.dumps({"metrics": as_values(text)}) if as_json else text, nl=as_json)


def health(
    home: HomeArgument,
    live: Annotated[bool, typer.Option(help="ask only whether it lives, serving or not")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether the agent lives (a process has its home) and is ready (it serves); exit status 1 where it is not.

    Nothing that it is asked is an entry of its ledger.
    """
    from client.health import health as look
    from client.home import Home

    with told_plainly():
        found = look(Home(home.absolute()))
    good = found.live if live else found.ready
    if as_json:
        typer.echo(json.dumps({"live": found.live, "ready": found.ready}))
    else:
        typer.echo(found.words, err=not good)
    raise typer.Exit(0 if good else 1)

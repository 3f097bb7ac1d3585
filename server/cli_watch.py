"""`fedpath-consortium status` and `metrics`: how it stands, for people and for monitoring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from privacy.command_line import Exit, plain
from server.cli_errors import told_plainly


def metrics(
    home: Annotated[Path, typer.Argument(help="the consortium's home folder")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print the consortium's figures for monitoring, in Prometheus' text form."""
    from datetime import UTC, datetime

    from privacy.exposition import as_values
    from server.home import Home
    from server.metrics import text

    with told_plainly():
        place = Home.open(home)
        said = text(place, place.store(), datetime.now(UTC)).decode()
    typer.echo(json.dumps({"metrics": as_values(said)}) if as_json else said, nl=as_json)


def status(
    home: Annotated[Path, typer.Argument(help="the consortium's home folder")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Who is enrolled, and where each campaign stands.

    Exit status 1 where the database does not answer: what can be known without it is said.
    """
    from rich.console import Console

    from server.errors import DatabaseAway, TransactionLost
    from server.home import Home
    from server.status import status as collect
    from server.status import tables, tables_without_database, without_database

    with told_plainly():
        place = Home.open(home)
        try:
            values, shown = collect(place), tables
        except (DatabaseAway, TransactionLost) as error:
            values, shown = without_database(place, error), tables_without_database
    if as_json:
        typer.echo(json.dumps(values))
    else:
        console = Console()
        for table in shown(values):
            console.print(table)
    if (fault := values["database_fault"]) is not None:
        typer.echo(f"error: {plain(fault)}", err=True)
        raise typer.Exit(Exit.FOUND)

"""`fedpath-consortium metrics`: the figures that `start --metrics-port` serves, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

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

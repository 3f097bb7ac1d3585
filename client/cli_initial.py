"""`fedpath-hospital initial`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from privacy.command_line import plain


def initial(
    base: Annotated[Path, typer.Argument(help="the base model's folder")],
    campaign: Annotated[Path, typer.Argument(help="the campaign file")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """For coordinators: write the experts' first states for a base, into the folder that a campaign file names.

    They are public, and the same on every machine. It takes the base, so run it where the evaluator's agent runs.
    """
    from client.initial_states import write_initial

    with told_plainly():
        written = write_initial(base, campaign)
    if as_json:
        typer.echo(json.dumps({"written": [str(path) for path in written]}))
        return
    for path in written:
        typer.echo(f"wrote {plain(str(path))}")

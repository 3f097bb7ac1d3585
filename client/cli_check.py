"""`fedpath-hospital check`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument
from privacy.command_line import Exit, plain, progress


def check(
    home: HomeArgument,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object, with all of it")] = False,
) -> None:
    """Look at policy, keys, kit, clock, ledger, SuperLink, disk, GPU, memory, base, slides and manifest: a verdict on each.

    Exit status 1 where anything keeps the hospital from taking part.
    """
    from client.check import findings
    from client.findings import in_short
    from client.home import home_at
    from client.slides.index import Looking

    with told_plainly(), progress() as tell:
        found = findings(home_at(home), Looking(tell=tell))
    if as_json:
        kinds = {"problems": found.problems, "notes": found.notes}
        said = {kind: [finding.to_dict() for finding in each] for kind, each in kinds.items()}
        typer.echo(json.dumps({**said, "fine": found.fine}))
    else:
        typer.echo(f"fine: {', '.join(found.fine) or 'nothing'}")
        for note in in_short(found.notes):
            typer.echo(f"note: {plain(note)}")
        for problem in in_short(found.problems):
            typer.echo(f"PROBLEM: {plain(problem)}")
        typer.echo("ready" if not found.problems else f"{len(found.problems)} problem(s) to mend")
    raise typer.Exit(Exit.FOUND if found.problems else 0)

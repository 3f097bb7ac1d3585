"""`fedpath-consortium export` and `prune`: the journal and the kept releases, for auditors and for the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privacy.command_line import Exit, answer, progress
from privacy.printable import printable
from server.cli_errors import told_plainly
from server.completion import campaigns

HomeArgument = Annotated[Path, typer.Argument(help="the consortium's home folder")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def export(
    home: HomeArgument,
    file: Annotated[Path, typer.Argument(help="the file to write, for an auditor")],
    releases: Annotated[
        Path | None,
        typer.Option(help="a folder to write as well: states and kept releases, for `fedpath-audit replay`"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the whole journal to a file that can be verified offline with the coordinator's public key."""
    from datetime import UTC, datetime

    from server.evidence import hand_over
    from server.home import Home
    from server.journal import export as write

    with told_plainly(), progress() as tell:
        place = Home.open(home)
        tell("reading the journal")
        store, key = place.store(), place.coordinator()
        entries = store.journal()
        write(file, entries, key, datetime.now(UTC))
        lost = [] if releases is None else list(hand_over(store, entries, releases, tell))
    head, fingerprint = entries[-1].hash, key.public.fingerprint
    facts = {
        "file": str(file),
        "entries": len(entries),
        "head": head,
        "fingerprint": fingerprint,
        "lost": lost,
    }
    answer(facts, f"{len(entries)} entries, head {head}: verify with the key {fingerprint}", as_json)
    for what in lost:
        typer.echo(f"error: {printable(what)}", err=True)
    if lost:
        typer.echo(f"error: {len(lost)} files are not handed over; all others are", err=True)
        raise typer.Exit(Exit.FOUND)


def prune(
    home: HomeArgument,
    campaign: Annotated[str, typer.Argument(help="the campaign's name", autocompletion=campaigns)],
    last: Annotated[int, typer.Option(min=0, help="how many of its last rounds keep their releases")],
    as_json: JsonOption = False,
) -> None:
    """Remove the kept releases of a campaign's earlier rounds, which nobody can recompute afterwards; the journal says so."""
    from server.home import Home

    with told_plainly():
        removed = Home.open(home).store().prune(campaign, last)
    words = f"removed {removed} releases of {campaign}; its last {last} rounds keep theirs"
    answer({"campaign": campaign, "removed": removed}, words, as_json)

"""`fedpath-hospital withdraw`: patients who take part no more."""

from __future__ import annotations

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import answer


def withdraw(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Leave patients out of every later draw: reads their keys from standard input, one a line."""
    import sys

    from client.data import open_data
    from client.home import home_at
    from client.tasks.patient import identity
    from client.withdrawn import add_withdrawn, staying
    from privacy import keys
    from privacy.ledger.store import Ledger

    with told_plainly():
        place = home_at(home)
        asked = {line.strip() for line in sys.stdin if line.strip()}
        manifest = open_data(place).manifest
        out = add_withdrawn(place.withdrawn, asked)
        Ledger(place.ledger, keys.load(place.release_key)).withdrawn(len(out))
    left_out = len(manifest.samples) - len(staying(manifest.samples, asked))
    unknown = len({identity(p) for p in asked} - {identity(s.patient) for s in manifest.samples})
    facts = {"questions_left_out": left_out, "withdrawn": len(out), "unknown": unknown}
    words = f"{left_out} questions are left out from the next round on; {len(out)} withdrawn in all"
    answer(facts, words, as_json)
    if unknown:
        typer.echo(f"of {unknown} the manifest has no question: is the spelling the manifest's?", err=True)

"""`fedpath-hospital withdraw`: patients who take part no more."""

from __future__ import annotations

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import answer, plain


def withdraw(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Leave patients out of every later draw: reads their keys from standard input, one a line.

    They are recorded first. Then the manifest says how many questions that leaves out, and which keys it does not know.
    """
    import sys

    from client.data import open_data
    from client.errors import ClientError
    from client.home import home_at
    from client.tasks.patient import identity
    from client.withdrawn import add_withdrawn, staying
    from privacy import keys
    from privacy.errors import PrivacyError
    from privacy.ledger.store import Ledger

    with told_plainly():
        place = home_at(home)
        asked = {line.strip() for line in sys.stdin if line.strip()}
        out = add_withdrawn(place.withdrawn, asked)
        Ledger(place.ledger, keys.load(place.release_key)).withdrawn(len(out))
    facts: dict[str, int | None] = {"questions_left_out": None, "withdrawn": len(out), "unknown": None}
    words, warning = f"{len(out)} withdrawn in all, from the next round on", ""
    try:
        samples = open_data(place).manifest.samples
    except (ClientError, PrivacyError, OSError) as error:
        warning = f"the keys are recorded as given, and could not be compared with the manifest's: {error}"
    else:
        left_out = len(samples) - len(staying(samples, asked))
        unknown = len({identity(p) for p in asked} - {identity(s.patient) for s in samples})
        facts |= {"questions_left_out": left_out, "unknown": unknown}
        words = f"{left_out} questions are left out from the next round on; {len(out)} withdrawn in all"
        if unknown:
            warning = f"of {unknown} the manifest has no question: is the spelling the manifest's?"
    answer(facts, words, as_json)
    if warning:
        typer.echo(plain(warning), err=True)

"""`fedpath-hospital budget`, `egress` and `export`: what was paid, what left, and both for an auditor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import answer, lines


def budget(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Say what epsilon is spent, and how many rounds like the last one are left."""
    from client.home import home_at
    from privacy import accounting, keys
    from privacy.ledger.store import Ledger

    with told_plainly():
        place = home_at(home)
        policy, ledger = place.policy, Ledger(place.ledger, keys.load(place.release_key))
        left = ledger.rounds_left_like_the_last(policy)
        limits = {
            limit.scope: (accounting.epsilon(limit.events, policy.delta), limit.epsilon)
            for limit in ledger.limits(policy)
        }
        figures = {
            "epsilon": ledger.epsilon(policy.delta),
            "epsilon_budget": policy.epsilon_budget,
            "delta": policy.delta,
            "rounds": len(ledger.summary().events),
            "rounds_left_like_the_last": left,
        }
    table = {scope: {"epsilon": spent, "limit": limit} for scope, (spent, limit) in limits.items()}
    words = {f"epsilon {scope}": f"{spent:.3f} of {limit:g}" for scope, (spent, limit) in limits.items()}
    if left is None:
        words["rounds_left_like_the_last"] = "no round was paid for yet"
    answer({**figures, "limits": table}, lines({**figures, **words}), as_json)


def egress(home: HomeArgument, as_json: JsonOption = False) -> None:
    """List everything that ever left: time, name, SHA-256, bytes, total epsilon then, to whose key."""
    from dataclasses import asdict

    from client.home import home_at
    from privacy import keys
    from privacy.ledger.store import Ledger

    with told_plainly():
        place = home_at(home)
        left = Ledger(place.ledger, keys.load(place.release_key)).egress()
    if as_json:
        typer.echo(json.dumps({"egress": [{"at": at, **asdict(record)} for at, record in left]}))
        return
    if not left:
        typer.echo("nothing has left this hospital")
    for at, record in left:
        typer.echo(
            f"{at}  {record.name:26} {record.sha256}  {record.bytes:>9} B  epsilon {record.epsilon:.3f}"
            f"  to {record.destination[:16]}"
        )


def export(
    home: HomeArgument,
    file: Annotated[Path, typer.Argument(help="the file to write, for an auditor")],
    as_json: JsonOption = False,
) -> None:
    """Write the whole ledger to a file that can be verified offline with the hospital's public key."""
    from datetime import UTC, datetime

    from client.home import home_at
    from privacy import keys
    from privacy.ledger.export import write_export
    from privacy.ledger.store import Ledger

    with told_plainly():
        place = home_at(home)
        key = keys.load(place.release_key)
        entries = Ledger(place.ledger, key).entries()
        write_export(file, entries, key, datetime.now(UTC).isoformat(timespec="seconds"))
    head, fingerprint = entries[-1].hash, key.public.fingerprint
    facts = {"file": str(file), "entries": len(entries), "head": head, "fingerprint": fingerprint}
    answer(facts, f"{len(entries)} entries, head {head}: verify with the key {fingerprint}", as_json)

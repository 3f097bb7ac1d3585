"""`fedpath-hospital policy`: read and change what the hospital allows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import Exit, failed

if TYPE_CHECKING:
    from privacy.policy import Policy

_LEFT_OUT = "left out"


def show(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Say which policy is in force, as the ledger last recorded it, and where the file differs."""
    from client.home import home_at
    from privacy import keys
    from privacy.ledger.store import Ledger
    from privacy.policy import Policy

    with told_plainly():
        place = home_at(home)
        recorded = Ledger(place.ledger, keys.load(place.release_key)).policy()
        on_file = place.policy
        in_force = on_file if recorded is None else Policy.from_dict(recorded)
    told: dict[str, Any] = {
        "in_force": in_force.to_dict(),
        "hash": in_force.hash,
        "recorded": recorded is not None,
        "file": on_file.to_dict(),
        "file_hash": on_file.hash,
    }
    if as_json:
        typer.echo(json.dumps(told))
        return
    for key, value in told["in_force"].items():
        other = told["file"][key]
        mark = "" if other == value else f"   <- the file says {_written(other)}"
        typer.echo(f"{key} = {_written(value)}{mark}")
    typer.echo(f"hash: {in_force.hash}")
    if recorded is None:
        typer.echo("not yet in the ledger: it is recorded when it is first used")
    elif on_file.hash != in_force.hash:
        typer.echo("the file differs: it is recorded, and goes, when the next plan comes")


def set_values(
    home: HomeArgument,
    pairs: Annotated[
        list[str] | None, typer.Argument(help="KEY VALUE, any number of pairs", metavar="[KEY VALUE]...")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="take this whole file in place of single keys")] = None,
    unset: Annotated[list[str] | None, typer.Option(help="a key to leave out; may be repeated")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="loosen without being asked")] = False,
    as_json: JsonOption = False,
) -> None:
    """Change the policy: checked whole, what loosens is confirmed, then written to the file and signed into the ledger.

    A running agent goes by it from the next plan on; a round under way ends as it began.
    """
    from client import policy_file
    from client.home import home_at
    from privacy import keys
    from privacy.errors import PolicyError
    from privacy.ledger.store import Ledger
    from privacy.policy import Policy

    os.umask(0o077)
    with told_plainly():
        place = home_at(home)
        if (file is None) == (not pairs and not unset):
            raise PolicyError("give KEY VALUE and --unset, or --file, and not both")
        ledger = Ledger(place.ledger, keys.load(place.release_key))
        if file is not None:
            text = policy_file.read(file)
        else:
            text = policy_file.edited(
                policy_file.read(place.policy_file), policy_file.values(pairs or []), unset or ()
            )
        new = policy_file.checked(place, text)
        recorded = ledger.policy()
        old = place.policy if recorded is None else Policy.from_dict(recorded)
        told = _told(old, new, as_json)
        if told["loosens"] and not yes:
            _confirm(told["loosens"])
        policy_file.put(place, text, ledger)
        paid = len(ledger.open_rounds())
    if as_json:
        typer.echo(json.dumps({**told, "hash": new.hash}))
        return
    typer.echo(f"in force from the next plan on, and in the ledger: {new.hash}")
    if paid:
        typer.echo(
            f"{paid} round under way was paid for under the policy before: an agent at work ends it; one that must start "
            "again gives it up, and it stays charged",
            err=True,
        )


def _told(old: Policy, new: Policy, as_json: bool) -> dict[str, Any]:
    """The changes, by direction; for the eye at once, before anybody is asked."""
    from privacy.policy_changes import Direction, changes

    found = changes(old, new)
    if not as_json:
        for change in found:
            typer.echo(
                f"{change.direction}: {change.key}: {_written(change.before)} -> {_written(change.after)}"
            )
        if not found:
            typer.echo("nothing changes")
    return {
        str(direction): {c.key: [c.before, c.after] for c in found if c.direction is direction}
        for direction in Direction
    }


def _confirm(loosened: dict[str, Any]) -> None:
    if not sys.stdin.isatty():
        raise failed(f"this loosens {', '.join(loosened)}: give --yes to have it so; nothing was changed")
    if not typer.confirm(f"This loosens {', '.join(loosened)}. Is that meant?"):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(Exit.NOT_DONE)


def _written(value: object) -> str:
    from privacy.printable import printable

    return _LEFT_OUT if value is None else printable(json.dumps(value, ensure_ascii=False))

"""`fedpath-audit`: read-only checks of a ledger, offline, with the hospital's public key alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from privacy import accounting, keys
from privacy.cli_plan import plan
from privacy.errors import PrivacyError
from privacy.ledger.database import Database
from privacy.ledger.reading import read, summarise

app = typer.Typer(help="Check a hospital's ledger offline.", no_args_is_help=True, add_completion=False)
app.command()(plan)


@app.callback()
def main() -> None:
    """Check a hospital's ledger offline."""


@app.command()
def verify(
    ledger: Annotated[Path, typer.Argument(help="the ledger's SQLite file")],
    key: Annotated[Path, typer.Option(help="the hospital's public key (.pub)")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Verify chain, signatures and kept releases, and recompute epsilon from the events.

    Exit status 1 where anything was changed, removed, reordered or signed by another key.
    """
    try:
        _, account = read(Database(ledger, read_only=True), keys.load_public(key))
    except PrivacyError as error:
        if as_json:
            typer.echo(json.dumps({"valid": False, "error": str(error)}))
        else:
            typer.echo(f"NOT VALID: {error}", err=True)
        raise typer.Exit(1) from None
    summary = summarise(account)
    delta = None if account.policy is None else account.policy["delta"]
    epsilon = None if delta is None else accounting.epsilon(summary.events, delta)
    if as_json:
        figures = {**asdict(summary), "valid": True, "delta": delta, "epsilon": epsilon}
        typer.echo(json.dumps(figures))
        return
    typer.echo(f"valid: {summary.entries} entries, head {summary.head}")
    typer.echo(
        f"rounds: {summary.spent} spent, {summary.reserved} reserved, {summary.voided} voided, "
        f"{summary.refused} refused, {summary.receipts} acknowledged"
    )
    if epsilon is not None:
        typer.echo(f"epsilon: {epsilon:.3f} at delta {delta:g}, recomputed from {len(summary.events)} events")

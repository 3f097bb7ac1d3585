"""`fedpath-hospital selftest`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def selftest(
    home: Annotated[Path, typer.Argument(help="the hospital's home folder")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Test the installed release path with made-up patients, and record the verdict in the ledger.

    Run it at installation, after each upgrade and before each campaign. Exit status 1 where anything was found.
    """
    from rich.console import Console

    from client.errors import ClientError
    from client.home import Home
    from client.model.errors import ModelError
    from client.selftest import run
    from privacy.errors import PrivacyError

    place = Home(home.absolute())
    try:
        with Console(stderr=True).status("self-test") as shown:
            verdict = run.selftest(place.settings.base, lambda step: shown.update(f"self-test: {step}"))
        run.record(place, verdict)
    except (ClientError, ModelError, PrivacyError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    findings = [str(finding) for finding in verdict.findings]
    if as_json:
        told = {**verdict.to_body(), "findings": findings, "measured": dict(verdict.measured)}
        typer.echo(json.dumps(told))
    else:
        for finding in findings:
            typer.echo(f"FOUND {finding}")
        for name, value in verdict.measured.items():
            typer.echo(f"{name.replace('_', ' ')}: {value:.4g}")
        typer.echo(
            "passed"
            if verdict.passed
            else f"FAILED: {len(findings)} finding(s); train nothing with this code"
        )
    raise typer.Exit(0 if verdict.passed else 1)

"""`fedpath-hospital selftest`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from privacy.command_line import Exit, progress


def selftest(
    home: Annotated[Path, typer.Argument(help="the hospital's home folder")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Test the installed release path with made-up patients, and record the verdict in the ledger.

    Run it at installation, after each upgrade and before each campaign. Exit status 1 where anything was found.
    """
    from client.home import Home
    from client.selftest import run

    with told_plainly(), progress() as tell:
        place = Home(home.absolute())
        tell("self-test")
        settings = place.settings
        verdict = run.selftest(settings.base, lambda step: tell(f"self-test: {step}"), settings.vllm)
        run.record(place, verdict)
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
    raise typer.Exit(0 if verdict.passed else Exit.FOUND)

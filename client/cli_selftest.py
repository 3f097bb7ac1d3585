"""`fedpath-hospital selftest`."""

from __future__ import annotations

import json

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import Exit, progress


def selftest(
    home: HomeArgument,
    as_json: JsonOption = False,
) -> None:
    """Test the installed release path with made-up patients, and record the verdict in the ledger.

    Run it at installation, after each upgrade and before each campaign. Exit status 1 where anything was found.
    """
    from client.home import home_at
    from client.selftest import run

    with told_plainly(), progress() as tell:
        place = home_at(home)
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

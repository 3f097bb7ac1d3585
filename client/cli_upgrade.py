"""`fedpath-hospital upgrade`: the hospital's own word that it installed other code."""

from __future__ import annotations

import json

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import Exit, plain, progress


def upgrade(
    home: HomeArgument,
    as_json: JsonOption = False,
) -> None:
    """Record the code that is installed now, once it passed `check` and the self-test: until then nothing trains.

    Exit status 1, and nothing recorded but the self-test's verdict, where something was found.
    """
    from client.check import findings
    from client.home import home_at
    from client.installation import installed
    from client.model.errors import ModelError
    from client.selftest import run
    from privacy import keys
    from privacy.ledger.store import Ledger

    with told_plainly():
        place = home_at(home)
        ledger = Ledger(place.ledger, keys.load(place.release_key))
        before, after = ledger.installed(), installed()
        if not as_json:
            typer.echo(f"before: {_words(before)}\nnow:    {_words(after)}")
        problems: list[str] = []
        if before != after:
            with progress() as tell:
                tell("check")
                problems += [
                    plain(finding.what) for finding in findings(place).problems if finding.code != "selftest"
                ]
                try:
                    verdict = run.selftest(place.settings.base, lambda step: tell(f"self-test: {step}"))
                except ModelError as error:
                    problems.append(str(error))
                else:
                    run.record(place, verdict)
                    problems += map(str, verdict.findings)
            if not problems:
                ledger.install(after)
    if as_json:
        told = {"before": None if before is None else vars(before), "after": vars(after)}
        typer.echo(json.dumps({**told, "recorded": before != after and not problems, "problems": problems}))
    else:
        for problem in problems:
            typer.echo(f"FOUND {problem}")
        typer.echo(
            "NOT recorded: mend that, or go back to the installation before"
            if problems
            else "this code is on record already"
            if before == after
            else "recorded: start the agent anew, if it ran meanwhile"
        )
    raise typer.Exit(Exit.FOUND if problems else 0)


def _words(found: object) -> str:
    from privacy.ledger.account import Installed

    if not isinstance(found, Installed):
        return "no code on record"
    return f"code {found.code}, version {plain(found.version or 'not recorded')}"

"""`fedpath-hospital status`, `health`, `reach` and `metrics`: agent and courier as local IT and monitoring see them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import Exit, answer, plain


def metrics(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Print the agent's figures for monitoring, in Prometheus' text form: those that it writes to metrics/ in the home."""
    from client.health import ask_agent
    from client.home import home_at
    from privacy.exposition import as_values

    with told_plainly():
        text = ask_agent(home_at(home), "metrics").decode()
    typer.echo(json.dumps({"metrics": as_values(text)}) if as_json else text, nl=as_json)


def health(
    home: HomeArgument,
    live: Annotated[bool, typer.Option(help="ask only whether it lives, serving or not")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether the agent lives (a process has its home) and is ready (it serves); exit status 1 where it is not.

    Nothing that it is asked is an entry of its ledger.
    """
    from client.health import health as look
    from client.home import home_at

    with told_plainly():
        found = look(home_at(home))
    good = found.live if live else found.ready
    if as_json:
        typer.echo(json.dumps({"live": found.live, "ready": found.ready}))
    else:
        typer.echo(found.words, err=not good)
    raise typer.Exit(0 if good else Exit.FOUND)


def status(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Say what agent and courier do now, and how long the kit is good.

    Exit status 1 where no agent answers: then it says that, and what is known without one.
    """
    from datetime import UTC, datetime

    from client import paused
    from client.health import ask_agent
    from client.home import home_at
    from client.rpc import AgentUnreachableError
    from client.status_words import status_words
    from privacy.enrolment.expiry import Level
    from privacy.ledger.entries import written

    with told_plainly():
        place = home_at(home)
        ends = place.kit.expiries(datetime.now(UTC))
        try:
            now = json.loads(ask_agent(place, "status"))
        except AgentUnreachableError as error:
            since = paused.since(place.paused)
            now = {"agent": str(error), "paused_since": None if since is None else written(since)}
        report = place.courier_report
        now["courier"] = (
            report.read_text().strip() if report.exists() else "not started, or contained: see `reach`"
        )
    words = [
        *status_words(now),
        *(str(end) if end.level is Level.FINE else f"{end.level.upper()}: {end}" for end in ends),
    ]
    answer({**now, "expiries": [end.to_dict() for end in ends]}, plain("\n".join(words)), as_json)
    raise typer.Exit(Exit.FOUND if "agent" in now else 0)


def reach(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Say whether the agent's door and the consortium's SuperLink can be reached from here, as a courier must.

    Exit status 1 where one can't. Nothing is asked of either.
    """
    from client.home import couriers_home_at
    from client.reach import unreached

    with told_plainly():
        place = couriers_home_at(home)
        missing = unreached(place)
        superlink = place.kit.superlink
    if as_json:
        typer.echo(json.dumps({"reached": not missing, "problems": missing}))
    else:
        for what in missing:
            typer.echo(f"error: {plain(what)}", err=True)
        if not missing:
            typer.echo(f"the agent's door is open, and {superlink} has the consortium's certificate")
    raise typer.Exit(Exit.FOUND if missing else 0)

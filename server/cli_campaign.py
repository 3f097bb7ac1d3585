"""`fedpath-consortium run`, `evaluate` and `simulate`: a campaign's work, followed to its end."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from privacy.command_line import Exit, progress
from privacy.printable import printable
from server.cli_errors import told_plainly

if TYPE_CHECKING:
    from server.flower_cli import FlowerCli
    from server.home import Home
    from server.store import Store

HomeArgument = Annotated[Path, typer.Argument(help="the consortium's home folder")]
CampaignArgument = Annotated[Path, typer.Argument(help="a campaign file: docs/campaign.md")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]
PointOption = Annotated[
    str | None,
    typer.Option(
        help='"base", a stage (its end) or a number of rounds; without it, the last committed round'
    ),
]


def run(home: HomeArgument, campaign: CampaignArgument, as_json: JsonOption = False) -> None:
    """Run a campaign, or go on with it from its last committed round, and follow it to its end.

    Exit status 1 where it failed. Its log is a line for each committed round, on standard error. Ctrl-C ends the following
    alone; `stop` ends the campaign's run.
    """
    from datetime import UTC, datetime

    from privacy.enrolment.expiry import Level
    from server import superlink
    from server.database import Patience
    from server.flower_cli import checkout
    from server.home import Home
    from server.provision.renew import expiries
    from server.reach import require_superlink
    from server.runner import DATABASE_AWAY_S

    with told_plainly():
        place = Home.open(home)
        store = place.store(patience=Patience(DATABASE_AWAY_S))
        name = _checked(store, campaign)
        require_superlink(place)
        for expiry in expiries(place, datetime.now(UTC)):
            if expiry.level is not Level.FINE:
                typer.echo(f"warning: {expiry}: `fedpath-consortium renew {place.folder}`", err=True)
        cli = superlink.flower(place)
        config = {"home": str(place.folder), "campaign": str(campaign.absolute())}
        _follow(place, store, cli, name, cli.submit(checkout() / "pyproject.toml", config), as_json)


def evaluate(
    home: HomeArgument, campaign: CampaignArgument, point: PointOption = None, as_json: JsonOption = False
) -> None:
    """Have the evaluator score the experts of a committed round on its public data, and keep the figures."""
    from server import superlink
    from server.campaign_file import load_campaign
    from server.errors import CampaignBusy
    from server.evaluation import as_json as values
    from server.evaluation import table
    from server.flower_cli import checkout
    from server.follow import await_evaluation
    from server.home import Home
    from server.points import request_at
    from server.reach import require_superlink
    from server.runner import begun_point

    with told_plainly():
        place = Home.open(home)
        store = place.store()
        asked = load_campaign(campaign)
        where = begun_point(store, asked, point)
        rows = store.evaluation(asked.name, where.name)
        if not rows:
            if place.is_running(asked.name):
                raise CampaignBusy(
                    f"campaign {asked.name!r} is at work: ask when it has ended, or was stopped"
                )
            require_superlink(place)
            cli = superlink.flower(place)
            config = {"home": str(place.folder), "campaign": str(campaign.absolute()), "evaluate": where.name}
            run_id = cli.submit(checkout() / "pyproject.toml", config)
            with progress() as tell:
                tell("the evaluator is asked")
                rows = await_evaluation(store, cli, asked.name, where.name, run_id)
        experts = request_at(asked, where, store.states(asked.name, where.round)).experts_hash
    if as_json:
        typer.echo(json.dumps(values(asked.name, where, experts, rows)))
        return
    Console().print(table(asked.name, where, rows))


def simulate(
    home: HomeArgument,
    campaign: CampaignArgument,
    hospitals: Annotated[list[Path], typer.Argument(help="the home of each enrolled hospital")],
    workers: Annotated[int, typer.Option(min=1, help="hospitals at work at once")] = os.cpu_count() or 1,
    as_json: JsonOption = False,
) -> None:
    """What if: run a campaign in Flower's simulation engine, all hospitals on this machine, none protected.

    The homes' ledgers pay as they would in earnest: give it homes of their own over synthetic or public data.
    """
    from server import simulation
    from server.home import Home

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with told_plainly():
        place = Home.open(home)
        store = place.store()
        name = _checked(store, campaign)
        with simulation.engine(place) as cli:
            _follow(
                place, store, cli, name, simulation.submit(cli, place, campaign, hospitals, workers), as_json
            )


def _checked(store: Store, campaign: Path) -> str:
    """The campaign's name; what is wrong with its file or its enrolment is said before anything starts."""
    from server.campaign_file import load_campaign, load_initial
    from server.runner import check_enrolled

    asked = load_campaign(campaign)
    load_initial(asked, campaign)
    check_enrolled(asked, store.hospitals())
    return asked.name


def _follow(place: Home, store: Store, cli: FlowerCli, campaign: str, run_id: str, as_json: bool) -> None:
    from privacy.events import Name, Ordinal, tell
    from server.events import CampaignFollowed
    from server.follow import follow

    failure, committed, rounds = None, 0, 0
    for state in follow(place, store, cli, campaign, run_id):
        failure, committed, rounds = state.failure, state.committed, state.rounds
        tell(CampaignFollowed(Name(campaign), Ordinal(committed), Ordinal(rounds)))
    if as_json:
        told = {"campaign": campaign, "committed": committed, "rounds": rounds, "failure": failure}
        typer.echo(json.dumps(told))
    if failure is not None:
        typer.echo(f"error: {printable(failure)}", err=True)
        raise typer.Exit(Exit.FOUND)

"""`fedpath-consortium`: what the coordinator runs."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from privacy.printable import printable
from server.cli_enrolment import approve, enroll, renew, revoke, rotate
from server.cli_errors import told_plainly as _told_plainly
from server.cli_experts import experts
from server.cli_steer import pause, resume, stop
from server.cli_track import track
from server.cli_watch import metrics
from server.page.cli import serve, users

if TYPE_CHECKING:
    from server.flower_cli import FlowerCli
    from server.home import Home
    from server.store import Store

app = typer.Typer(help="Coordinate a FedPath consortium.", no_args_is_help=True, add_completion=False)

for command in (enroll, approve, revoke, renew, rotate, pause, resume, stop, experts, metrics, serve, track):
    app.command()(command)
app.add_typer(users, name="users")

HomeArgument = Annotated[Path, typer.Argument(help="the consortium's home folder")]
CampaignArgument = Annotated[Path, typer.Argument(help="a campaign file: docs/campaign.md")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]
PointOption = Annotated[
    str | None,
    typer.Option(
        help='"base", a stage (its end) or a number of rounds; without it, the last committed round'
    ),
]


@app.command()
def init(
    home: HomeArgument,
    host: Annotated[str, typer.Option(help="name or address at which hospitals reach this machine")],
    port: Annotated[int, typer.Option(help="port of the SuperLink")] = 9092,
    name: Annotated[str, typer.Option(help="the consortium's name")] = "consortium",
    database: Annotated[
        str | None,
        typer.Option(help="postgresql://user@host/db for the store; without it, a file in the home"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a home: certificates, the coordinator's key, the store."""
    from server.home import Home

    os.umask(0o077)
    with _told_plainly():
        made = Home.create(home, name, host, port, database)
        key = made.coordinator().public
    if as_json:
        facts = {"home": str(made.folder), "superlink": made.superlink, "coordinator": key.raw.hex()}
        typer.echo(json.dumps({**facts, "fingerprint": key.fingerprint}))
        return
    typer.echo(
        f"made {made.folder}, with the coordinator's key {key.fingerprint}: invite the hospitals with `enroll`, then start"
    )


@app.command()
def start(
    home: HomeArgument,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="a port of loopback for /metrics, /live and /ready; without it there is none"),
    ] = None,
) -> None:
    """Run the SuperLink in the foreground; it knows the nodes of all that are enrolled, and forgets those of the revoked."""
    from datetime import UTC, datetime

    from privacy.details import keep_details, start_told
    from privacy.errors import PrivacyError
    from privacy.events import Ordinal, Status, tell
    from privacy.keys import read_private
    from privacy.supervisor import tell_ready
    from server.errors import ServerError
    from server.events import SuperlinkEnded, SuperlinkStarting
    from server.home import Home
    from server.keeper import keep, started
    from server.loopback import accepts
    from server.metrics import text
    from server.monitor import Monitor
    from server.provision.authority import SERVER_KEY
    from server.relay import Relay

    with _told_plainly():
        place = Home.open(home)
        os.umask(0o077)
        keep_details(place.details)
    with start_told(ServerError, PrivacyError, OSError):
        store = place.store()
        read_private(place.folder / SERVER_KEY)
        if metrics_port is not None:
            Monitor(metrics_port, lambda: text(place, store, datetime.now(UTC)), lambda: accepts(place.port))
        relay = Relay(place.folder / "flower" / "events.log")
        tell(SuperlinkStarting(Ordinal(place.port)))
        with started(place, relay.environment) as link:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: link.terminate())
            keep(place, store, link, tell_ready, relay.pass_on)
    relay.pass_on()
    tell(SuperlinkEnded(Status(link.returncode)))
    raise typer.Exit(max(link.returncode, 0))


@app.command()
def reach(
    home: HomeArgument,
    campaign: Annotated[
        Path | None, typer.Option(help="a campaign file: ask also whether its ServerApp lives, or it is done")
    ] = None,
    page: Annotated[
        int | None, typer.Option(help="a port: ask also whether the page is served there")
    ] = None,
) -> None:
    """Say whether this home's SuperLink answers on this machine, with its certificate; exit status 1 where it does not."""
    from server.campaign_file import load_campaign
    from server.home import Home
    from server.reach import require_page, require_runner, require_superlink

    with _told_plainly():
        place = Home.open(home)
        require_superlink(place)
        if page is not None:
            require_page(page)
        if campaign is not None:
            require_runner(place, place.store(), load_campaign(campaign).name)
    typer.echo(f"the SuperLink answers on port {place.port}")


@app.command()
def run(home: HomeArgument, campaign: CampaignArgument) -> None:
    """Run a campaign, or go on with it from its last committed round, and follow it to its end."""
    from server import superlink
    from server.flower_cli import checkout
    from server.home import Home
    from server.reach import require_superlink

    with _told_plainly():
        place = Home.open(home)
        store = place.store()
        name = _checked(store, campaign)
        require_superlink(place)
        cli = superlink.flower(place)
        config = {"home": str(place.folder), "campaign": str(campaign.absolute())}
        _follow(place, store, cli, name, cli.submit(checkout() / "pyproject.toml", config))


@app.command()
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

    with _told_plainly():
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
            rows = await_evaluation(store, cli, asked.name, where.name, run_id)
        experts = request_at(asked, where, store.states(asked.name, where.round)).experts_hash
    if as_json:
        typer.echo(json.dumps(values(asked.name, where, experts, rows)))
        return
    Console().print(table(asked.name, where, rows))


@app.command()
def simulate(
    home: HomeArgument,
    campaign: CampaignArgument,
    hospitals: Annotated[list[Path], typer.Argument(help="the home of each enrolled hospital")],
    workers: Annotated[int, typer.Option(min=1, help="hospitals at work at once")] = os.cpu_count() or 1,
) -> None:
    """What if: run a campaign in Flower's simulation engine, all hospitals on this machine, none protected.

    The homes' ledgers pay as they would in earnest: give it homes of their own over synthetic or public data.
    """
    from server import simulation
    from server.home import Home

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with _told_plainly():
        place = Home.open(home)
        store = place.store()
        name = _checked(store, campaign)
        with simulation.engine(place) as cli:
            _follow(place, store, cli, name, simulation.submit(cli, place, campaign, hospitals, workers))


def _checked(store: Store, campaign: Path) -> str:
    """The campaign's name; what is wrong with its file or its enrolment is said before anything starts."""
    from server.campaign_file import load_campaign, load_initial
    from server.runner import check_enrolled

    asked = load_campaign(campaign)
    load_initial(asked, campaign)
    check_enrolled(asked, store.hospitals())
    return asked.name


def _follow(place: Home, store: Store, cli: FlowerCli, campaign: str, run_id: str) -> None:
    from privacy.events import Name, Ordinal, tell
    from server.events import CampaignFollowed
    from server.follow import follow

    failure = None
    for state in follow(place, store, cli, campaign, run_id):
        tell(CampaignFollowed(Name(campaign), Ordinal(state.committed), Ordinal(state.rounds)))
        failure = state.failure
    if failure is not None:
        typer.echo(f"error: {failure}", err=True)
        raise typer.Exit(1)


@app.command()
def status(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Who is enrolled, and where each campaign stands."""
    from server.home import Home
    from server.status import status as collect
    from server.status import tables

    with _told_plainly():
        values = collect(Home.open(home))
    if as_json:
        typer.echo(json.dumps(values))
        return
    console = Console()
    for table in tables(values):
        console.print(table)


@app.command()
def export(
    home: HomeArgument,
    file: Annotated[Path, typer.Argument(help="the file to write, for an auditor")],
    releases: Annotated[
        Path | None,
        typer.Option(help="a folder to write as well: states and kept releases, for `fedpath-audit replay`"),
    ] = None,
) -> None:
    """Write the whole journal to a file that can be verified offline with the coordinator's public key."""
    from datetime import UTC, datetime

    from server.evidence import hand_over
    from server.home import Home
    from server.journal import export as write

    with _told_plainly():
        place = Home.open(home)
        store, key = place.store(), place.coordinator()
        entries = store.journal()
        write(file, entries, key, datetime.now(UTC))
        lost = [] if releases is None else list(hand_over(store, entries, releases))
    typer.echo(
        f"{len(entries)} entries, head {entries[-1].hash}: verify with the key {key.public.fingerprint}"
    )
    for what in lost:
        typer.echo(f"error: {printable(what)}", err=True)
    if lost:
        typer.echo(f"error: {len(lost)} files are not handed over; all others are", err=True)
        raise typer.Exit(1)


@app.command()
def prune(
    home: HomeArgument,
    campaign: Annotated[str, typer.Argument(help="the campaign's name")],
    last: Annotated[int, typer.Option(min=0, help="how many of its last rounds keep their releases")],
) -> None:
    """Remove the kept releases of a campaign's earlier rounds, which nobody can recompute afterwards; the journal says so."""
    from server.home import Home

    with _told_plainly():
        removed = Home.open(home).store().prune(campaign, last)
    typer.echo(f"removed {removed} releases of {campaign}; its last {last} rounds keep theirs")

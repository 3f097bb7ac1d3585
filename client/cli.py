"""`fedpath-hospital`: what hospital IT runs.

Imports stand inside the commands: the agent must cut its network before anything starts a thread.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from client.cli_ask import ask
from client.cli_campaigns import approve, campaigns
from client.cli_check import check
from client.cli_curve import curve
from client.cli_enrolment import init, join, request
from client.cli_errors import told_plainly as _told_plainly
from client.cli_evaluate import evaluate
from client.cli_features import features
from client.cli_import import imports
from client.cli_index import index
from client.cli_page import serve
from client.cli_pair import start, stop
from client.cli_pause import pause, resume
from client.cli_peer import peer
from client.cli_policy import policies
from client.cli_selftest import selftest
from client.cli_slide import slide
from client.cli_upgrade import upgrade
from client.cli_watch import health, metrics

app = typer.Typer(help="Run a hospital of a FedPath consortium.", no_args_is_help=True, add_completion=False)

for command in (
    *(index, init, request, join, check, selftest, features, evaluate, ask, curve),
    *(campaigns, approve, pause, resume, start, stop, upgrade, health, metrics, serve),
):
    app.command()(command)
app.add_typer(imports, name="import")
app.add_typer(slide, name="slide")
app.add_typer(peer, name="peer")
app.add_typer(policies, name="policy")

_LAST_FIGURES_S = 5.0

HomeArgument = Annotated[Path, typer.Argument(help="the hospital's home folder")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]
# For the step under way when the agent is ended, and for each door's last answers: less than units and compose files give.
STEP_SECONDS, ANSWER_SECONDS = 40.0, 5.0


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(values))
        return
    for key, value in values.items():
        typer.echo(f"{key.replace('_', ' ')}: {value}")


@app.command()
def agent(
    home: HomeArgument,
    gpus: Annotated[int, typer.Option(min=1, help="how many GPUs share each step's patients")] = 1,
) -> None:
    """Run the agent: everything that touches slides, keys and ledger, without a network."""
    from client.network import cut_network

    network = cut_network()  # before any import that starts threads
    os.umask(0o077)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its words about what came in are free words

    from client.errors import ClientError
    from client.events import AgentEnding, AgentReady, AgentStarting, StepOutlasted
    from client.home import Home
    from privacy.details import keep_details, start_told
    from privacy.errors import PrivacyError
    from privacy.events import Ordinal, tell
    from privacy.supervisor import tell_ready

    place = Home(home.absolute())
    with _told_plainly():
        place.settings  # noqa: B018 - says what to do where there is no home
        keep_details(place.details())
    tell(AgentStarting(network.cut, Ordinal(gpus)))

    from client.agent import Agent
    from client.metrics import keep_written
    from client.rpc import serve
    from client.team import team_of

    ended, lost = threading.Event(), threading.Event()

    def worker_lost() -> None:
        lost.set()
        ended.set()

    if gpus > 1:
        network = replace(network, words=f"{network.words}; a loopback of its own joins its {gpus} processes")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with (
        start_told(ClientError, PrivacyError, OSError),
        place.only_agent(),
        team_of(place, gpus, worker_lost) as team,
    ):
        opened = Agent(place, network, team=team)
        servers = [serve(place.socket, opened.courier_methods)]
        place.open_socket()
        servers.append(serve(place.status_socket, opened.local_methods))  # last: who sees it finds all ready
        written = keep_written(place, opened.figures, ended)
        tell(AgentReady())
        tell_ready()
        ended.wait()
        if not lost.is_set() and not opened.end(STEP_SECONDS):
            tell(StepOutlasted())
        for server in servers:
            server.stop(grace=ANSWER_SECONDS).wait()
        tell(AgentEnding(lost.is_set()))
        written.join(_LAST_FIGURES_S)
        logging.shutdown()
        os._exit(
            1 if lost.is_set() else 0
        )  # a training under way ends here too, unsent; asked again, it goes on from its last step's checkpoint


@app.command()
def courier(
    home: HomeArgument,
    contained: Annotated[
        bool,
        typer.Option(
            "--contained",
            envvar="FEDPATH_CONTAINED",
            help="a container or a unit confines it: checked, and refused where it does not",
        ),
    ] = False,
) -> None:
    """Run the courier: Flower's SuperNode in a file system of its own."""
    from client import courier as couriers
    from client.events import CourierStarting
    from client.home import Home
    from privacy.events import tell

    with _told_plainly():
        place = Home(home.absolute())
        tell(CourierStarting(contained))
        if contained:
            couriers.contained_courier(place)
        couriers.courier(place)


@app.command()
def reach(home: HomeArgument) -> None:
    """Say whether the agent's door and the consortium's SuperLink can be reached from here, as a courier must.

    Exit status 1 where one can't. Nothing is asked of either.
    """
    from client.home import Home
    from client.reach import unreached

    with _told_plainly():
        place = Home(home.absolute())
        missing = unreached(place)
        for what in missing:
            typer.echo(f"error: {what}", err=True)
        if missing:
            raise typer.Exit(1)
        typer.echo(f"the agent's door is open, and {place.kit.superlink} has the consortium's certificate")


@app.command()
def status(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Say what agent and courier do now, and how long the kit is good."""
    from datetime import UTC, datetime

    from client.home import Home
    from client.rpc import call

    with _told_plainly():
        place = Home(home.absolute())
        now = json.loads(call(place.status_socket, "status", b"", timeout=10))
        ends = place.kit.expiries(datetime.now(UTC))
    report = place.courier_report
    now["courier"] = (
        report.read_text().strip() if report.exists() else "not started, or contained: see `reach`"
    )
    if as_json:
        _print({**now, "expiries": [end.to_dict() for end in ends]}, as_json)
    else:
        _print({**now, **{f"{end.level} of {end.what}": f"{end.days} days left" for end in ends}}, as_json)


@app.command()
def budget(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Say what epsilon is spent, and how many rounds like the last one are left."""
    from client.home import Home
    from privacy import accounting, keys
    from privacy.ledger.store import Ledger

    with _told_plainly():
        place = Home(home.absolute())
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
    if as_json:
        table = {scope: {"epsilon": spent, "limit": limit} for scope, (spent, limit) in limits.items()}
        _print({**figures, "limits": table}, as_json)
    else:
        words = {f"epsilon {scope}": f"{spent:.3f} of {limit:g}" for scope, (spent, limit) in limits.items()}
        _print({**figures, **words}, as_json)


@app.command()
def egress(home: HomeArgument, as_json: JsonOption = False) -> None:
    """List everything that ever left: time, name, SHA-256, bytes, total epsilon then, to whose key."""
    from dataclasses import asdict

    from client.home import Home
    from privacy import keys
    from privacy.ledger.store import Ledger

    with _told_plainly():
        place = Home(home.absolute())
        left = Ledger(place.ledger, keys.load(place.release_key)).egress()
    if as_json:
        typer.echo(json.dumps({"egress": [{"at": at, **asdict(record)} for at, record in left]}))
        return
    for at, record in left:
        typer.echo(
            f"{at}  {record.name:26} {record.sha256}  {record.bytes:>9} B  epsilon {record.epsilon:.3f}"
            f"  to {record.destination[:16]}"
        )


@app.command()
def withdraw(home: HomeArgument) -> None:
    """Leave patients out of every later draw: reads their keys from standard input, one a line."""
    import sys

    from client.data import open_data
    from client.home import Home
    from client.tasks.patient import identity
    from client.withdrawn import add_withdrawn, staying
    from privacy import keys
    from privacy.ledger.store import Ledger

    with _told_plainly():
        place = Home(home.absolute())
        asked = {line.strip() for line in sys.stdin if line.strip()}
        manifest = open_data(place).manifest
        out = add_withdrawn(place.withdrawn, asked)
        Ledger(place.ledger, keys.load(place.release_key)).withdrawn(len(out))
    left_out = len(manifest.samples) - len(staying(manifest.samples, asked))
    typer.echo(f"{left_out} questions are left out from the next round on; {len(out)} withdrawn in all")
    if unknown := len({identity(p) for p in asked} - {identity(s.patient) for s in manifest.samples}):
        typer.echo(f"of {unknown} the manifest has no question: is the spelling the manifest's?", err=True)


@app.command()
def rotate_key(home: HomeArgument) -> None:
    """Make a new release key, signed in by the old one; then send request.json to the coordinator again."""
    from client.home import Home
    from client.key_rotation import rotate_key as rotate

    with _told_plainly(), (place := Home(home.absolute())).only_agent():
        new = rotate(place)
    typer.echo(
        f"the release key is {new.fingerprint}: send {place.request} to the coordinator, then join with the kit that "
        "answers it"
    )


@app.command()
def export(
    home: HomeArgument, file: Annotated[Path, typer.Argument(help="the file to write, for an auditor")]
) -> None:
    """Write the whole ledger to a file that can be verified offline with the hospital's public key."""
    from datetime import UTC, datetime

    from client.home import Home
    from privacy import keys
    from privacy.ledger.export import write_export
    from privacy.ledger.store import Ledger

    with _told_plainly():
        place = Home(home.absolute())
        key = keys.load(place.release_key)
        entries = Ledger(place.ledger, key).entries()
        write_export(file, entries, key, datetime.now(UTC).isoformat(timespec="seconds"))
    typer.echo(
        f"{len(entries)} entries, head {entries[-1].hash}: verify with the key {key.public.fingerprint}"
    )

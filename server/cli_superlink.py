"""`fedpath-consortium init`, `start` and `reach`: the home, and the SuperLink that hospitals reach."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from privacy.command_line import Exit
from privacy.printable import printable
from server.cli_errors import told_plainly

HomeArgument = Annotated[Path, typer.Argument(help="the consortium's home folder")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def init(
    home: HomeArgument,
    host: Annotated[str, typer.Option(help="name or address at which hospitals reach this machine")],
    port: Annotated[int, typer.Option(help="port of the SuperLink")] = 9092,
    name: Annotated[str, typer.Option(help="the consortium's name")] = "consortium",
    database: Annotated[
        str | None,
        typer.Option(help="postgresql://user@host/db for the store; without it, a file in the home"),
    ] = None,
    database_password_file: Annotated[
        Path | None,
        typer.Option(
            help="a file whose first line is the database user's password (- for standard input); the home then keeps it"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a home: certificates, the coordinator's key, the store."""
    from server.errors import HomeError
    from server.home import Home
    from server.password_file import password_in

    os.umask(0o077)
    with told_plainly():
        if database_password_file is not None and database is None:
            raise HomeError(
                "--database-password-file: a file in the home has none; name the database with --database"
            )
        password = None if database_password_file is None else password_in(database_password_file)
        made = Home.create(home, name, host, port, database, password)
        key = made.coordinator().public
    if as_json:
        facts = {"home": str(made.folder), "superlink": made.superlink, "coordinator": key.raw.hex()}
        typer.echo(json.dumps({**facts, "fingerprint": key.fingerprint}))
        return
    typer.echo(
        f"made {made.folder}, with the coordinator's key {key.fingerprint}: invite the hospitals with `enroll`, then start"
    )


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
    from server.reach import require_certificate
    from server.relay import Relay

    with told_plainly():
        place = Home.open(home)
        os.umask(0o077)
        keep_details(place.details)
    with start_told(ServerError, PrivacyError, OSError):
        require_certificate(place, datetime.now(UTC))
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


def reach(
    home: HomeArgument,
    campaign: Annotated[
        Path | None, typer.Option(help="a campaign file: ask also whether its ServerApp lives, or it is done")
    ] = None,
    page: Annotated[
        int | None, typer.Option(help="a port: ask also whether the page is served there")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether this home's SuperLink answers on this machine, with its certificate; exit status 1 where it does not."""
    from server.campaign_file import load_campaign
    from server.errors import ServerError
    from server.home import Home
    from server.reach import require_page, require_runner, require_superlink

    with told_plainly():
        place = Home.open(home)
        asked = None if campaign is None else load_campaign(campaign).name
        problem = None
        try:
            require_superlink(place)
            if page is not None:
                require_page(page)
            if asked is not None:
                require_runner(place, place.store(), asked)
        except ServerError as error:
            problem = str(error)
    if as_json:
        typer.echo(json.dumps({"reached": problem is None, "problem": problem}))
    elif problem is None:
        typer.echo(f"the SuperLink answers on port {place.port}")
    else:
        typer.echo(f"error: {printable(problem)}", err=True)
    raise typer.Exit(0 if problem is None else Exit.FOUND)

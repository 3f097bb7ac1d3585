"""`fedpath-hospital init`, `request`, `join` and `rotate-key`: how a hospital comes to take part, and is known."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import answer

_INVITATION = "the coordinator's invitation"


def init(
    home: HomeArgument,
    invitation: Annotated[Path, typer.Option(help=_INVITATION)],
    slides: Annotated[Path, typer.Option(help="folder of slides; read-only is enough")],
    manifest: Annotated[Path, typer.Option(help="the labels, .csv or .parquet: docs/manifest.md")],
    base: Annotated[Path, typer.Option(help="folder of the base model")],
    as_json: JsonOption = False,
) -> None:
    """Make a home under the invited name: keys, a policy to edit, and request.json to send to the coordinator."""
    from client.enrolment import answer
    from client.home import Settings, create
    from privacy.enrolment.invitation import Invitation

    os.umask(0o077)
    with told_plainly():
        invited, now = Invitation.load(invitation), datetime.now(UTC)
        invited.check_open(now)
        settings = Settings(invited.hospital, slides.absolute(), manifest.absolute(), base.absolute())
        made = create(home, settings)
        answer(made, invited, now)
    _tell(made.folder, invited.coordinator.fingerprint, as_json)


def request(
    home: HomeArgument,
    invitation: Annotated[Path, typer.Argument(help=_INVITATION)],
    as_json: JsonOption = False,
) -> None:
    """Answer a new invitation from this home: after one expired, or to come back. Makes new keys; the agent must be stopped."""
    from client.enrolment import answer
    from client.home import home_at
    from privacy.enrolment.invitation import Invitation

    os.umask(0o077)
    with told_plainly(), (place := home_at(home)).only_agent():
        invited = Invitation.load(invitation)
        answer(place, invited, datetime.now(UTC))
    _tell(place.folder, invited.coordinator.fingerprint, as_json)


def _tell(home: Path, fingerprint: str, as_json: bool) -> None:
    if as_json:
        typer.echo(
            json.dumps({"home": str(home), "request": str(home / "request.json"), "coordinator": fingerprint})
        )
        return
    typer.echo(
        f"in {home}: compare the coordinator's key by telephone, {fingerprint}; edit policy.toml; send request.json to the "
        "coordinator; then join with the kit that answers it"
    )


def join(
    home: HomeArgument,
    kit: Annotated[Path, typer.Argument(help="the coordinator's kit, one file")],
    as_json: JsonOption = False,
) -> None:
    """Take in the coordinator's kit, and pin the coordinator's key; again for each renewed kit."""
    from client.enrolment import join as join_with
    from client.home import home_at

    os.umask(0o077)
    with told_plainly():
        place, now = home_at(home), datetime.now(UTC)
        taken = join_with(place, kit, now)
        ends = taken.expiries(now)
    if as_json:
        facts = {"consortium": taken.consortium, "hospital": taken.hospital, "superlink": taken.superlink}
        typer.echo(json.dumps({**facts, "expiries": [end.to_dict() for end in ends]}))
        return
    typer.echo(
        f"joined {taken.consortium} at {taken.superlink}. Your policy.toml stands; what the consortium proposes is in "
        f"{place.trust}. Run `fedpath-hospital check`, then the agent and the courier, or start the courier anew"
    )
    for end in ends:
        typer.echo(str(end))


def rotate_key(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Make a new release key, signed in by the old one; then send request.json to the coordinator again."""
    from client.home import home_at
    from client.key_rotation import rotate_key as rotate

    with told_plainly(), (place := home_at(home)).only_agent():
        new = rotate(place)
    words = (
        f"the release key is {new.fingerprint}: send {place.request} to the coordinator, then join with the kit that "
        "answers it"
    )
    answer({"fingerprint": new.fingerprint, "request": str(place.request)}, words, as_json)

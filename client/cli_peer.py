"""`fedpath-hospital peer`: the other hospitals, by this hospital's own record of their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import answer


def add(
    home: HomeArgument,
    name: Annotated[str, typer.Argument(help="the hospital's name, as it is enrolled")],
    keyfile: Annotated[Path, typer.Argument(help="its keys/release.key.pub, from the hospital itself")],
    as_json: JsonOption = False,
) -> None:
    """Put another hospital's key on record; then compare the fingerprint with that hospital by telephone."""
    from client import peers
    from client.home import home_at

    with told_plainly():
        place = home_at(home)
        key = peers.add(place.peers, place.settings.name, name, keyfile)
    facts = {"peer": name, "fingerprint": key.fingerprint}
    answer(facts, f"{name}: {key.fingerprint}: compare it with {name} by telephone", as_json)


def list_(home: HomeArgument, as_json: JsonOption = False) -> None:
    """List the hospitals on record with their fingerprints, this one's own first."""
    from client import peers
    from client.home import home_at
    from privacy import keys

    with told_plainly():
        place = home_at(home)
        own = keys.load(place.release_key).public
        others = peers.known(place.peers)
        me = place.settings.name
    found = {name: key.fingerprint for name, key in others.items()}
    words = [f"{me}: {own.fingerprint}  (this hospital)", *(f"{name}: {key}" for name, key in found.items())]
    answer({"own": {me: own.fingerprint}, "peers": found}, "\n".join(words), as_json)

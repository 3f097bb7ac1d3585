"""`fedpath-hospital peer`: the other hospitals, by this hospital's own record of their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly

peer = typer.Typer(
    help="The other hospitals that a round under distributed trust may be shared with.", no_args_is_help=True
)

HomeArgument = Annotated[Path, typer.Argument(help="the hospital's home folder")]


@peer.command()
def add(
    home: HomeArgument,
    name: Annotated[str, typer.Argument(help="the hospital's name, as it is enrolled")],
    keyfile: Annotated[Path, typer.Argument(help="its keys/release.key.pub, from the hospital itself")],
) -> None:
    """Put another hospital's key on record; then compare the fingerprint with that hospital by telephone."""
    from client import peers
    from client.home import Home

    with told_plainly():
        place = Home(home.absolute())
        key = peers.add(place.peers, place.settings.name, name, keyfile)
    typer.echo(f"{name}: {key.fingerprint}: compare it with {name} by telephone")


@peer.command("list")
def list_(home: HomeArgument) -> None:
    """List the hospitals on record with their fingerprints, this one's own first."""
    from client import peers
    from client.home import Home
    from privacy import keys

    with told_plainly():
        place = Home(home.absolute())
        own = keys.load(place.release_key).public
        others = peers.known(place.peers)
        me = place.settings.name
    typer.echo(f"{me}: {own.fingerprint}  (this hospital)")
    for name, key in others.items():
        typer.echo(f"{name}: {key.fingerprint}")

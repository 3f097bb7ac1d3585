"""`fedpath-hospital pause` and `resume`: no new round for now, and again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly

HomeArgument = Annotated[Path, typer.Argument(help="the hospital's home folder")]


def pause(home: HomeArgument) -> None:
    """Take no new round until `resume`, over restarts too. A round under way ends its work, which is paid for."""
    from client import paused
    from client.home import Home

    os.umask(0o077)
    with told_plainly():
        place = Home(home.absolute())
        place.settings  # noqa: B018 - says what to do where there is no home
        at = paused.pause(place.paused)
    typer.echo(
        f"paused since {at.isoformat(timespec='seconds')}: a round under way ends, and no other begins"
    )


def resume(home: HomeArgument) -> None:
    """Take new rounds again."""
    from client import paused
    from client.home import Home

    with told_plainly():
        place = Home(home.absolute())
        place.settings  # noqa: B018 - says what to do where there is no home
        was = paused.resume(place.paused)
    typer.echo("new rounds are taken again" if was else "it was not paused")

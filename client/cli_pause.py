"""`fedpath-hospital pause` and `resume`: no new round for now, and again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from privacy.command_line import answer

HomeArgument = Annotated[Path, typer.Argument(help="the hospital's home folder")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def pause(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Take no new round until `resume`, over restarts too. A round under way ends its work, which is paid for."""
    from client import paused
    from client.home import Home

    os.umask(0o077)
    with told_plainly():
        place = Home(home.absolute())
        place.settings  # noqa: B018 - says what to do where there is no home
        at = paused.pause(place.paused)
    since = at.isoformat(timespec="seconds")
    answer({"paused": since}, f"paused since {since}: a round under way ends, and no other begins", as_json)


def resume(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Take new rounds again."""
    from client import paused
    from client.home import Home

    with told_plainly():
        place = Home(home.absolute())
        place.settings  # noqa: B018 - says what to do where there is no home
        was = paused.resume(place.paused)
    words = "new rounds are taken again" if was else "it was not paused"
    answer({"paused": None, "was_paused": was}, words, as_json)

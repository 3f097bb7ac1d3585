"""`fedpath-hospital pause` and `resume`: no new round for now, and again."""

from __future__ import annotations

import os

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import answer


def pause(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Take no new round until `resume`, over restarts too. A round under way ends its work, which is paid for."""
    from client import paused
    from client.home import home_at

    os.umask(0o077)
    with told_plainly():
        place = home_at(home)
        at = paused.pause(place.paused)
    since = at.isoformat(timespec="seconds")
    answer({"paused": since}, f"paused since {since}: a round under way ends, and no other begins", as_json)


def resume(home: HomeArgument, as_json: JsonOption = False) -> None:
    """Take new rounds again."""
    from client import paused
    from client.home import home_at

    with told_plainly():
        place = home_at(home)
        was = paused.resume(place.paused)
    words = "new rounds are taken again" if was else "it was not paused"
    answer({"paused": None, "was_paused": was}, words, as_json)

"""`fedpath-hospital start` and `stop`: agent and courier as one pair, where nothing else keeps them running."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import answer


def start(
    home: HomeArgument,
    gpus: Annotated[int, typer.Option(min=1, help="how many GPUs share each step's patients")] = 1,
) -> None:
    """Run agent and courier in the foreground, each started again when it ends; Ctrl-C, SIGTERM or `stop` ends both.

    Containers and systemd units do this already: docs/howto/deploy.md.
    """
    from client import pair
    from client.home import home_at

    os.umask(0o077)
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: told.append(number))
    with told_plainly():
        place = home_at(home)
        place.kit  # noqa: B018 - says what to do where there is none
        with pair.held(place.pair_lock):
            pair.keep_running(pair.commands_of(place.folder, gpus), lambda: bool(told), typer.echo)


def stop(
    home: HomeArgument,
    as_json: JsonOption = False,
) -> None:
    """End the pair that `start` runs: the agent finishes its step, within a minute, and goes on from there when started."""
    from client import pair
    from client.home import home_at

    with told_plainly():
        place = home_at(home)
        ran = pair.stop(place.pair_lock, sum(pair.GRACE.values()) + 10)
    words = "agent and courier are stopped" if ran else "nothing ran that `start` started"
    answer({"ran": ran}, words, as_json)

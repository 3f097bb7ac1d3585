"""`fedpath-consortium pause`, `resume` and `stop`: what a running campaign is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from server.cli_errors import told_plainly
from server.completion import campaigns

HomeArgument = Annotated[Path, typer.Argument(help="the consortium's home folder")]
NameArgument = Annotated[str, typer.Argument(help="the campaign's name", autocompletion=campaigns)]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def pause(home: HomeArgument, campaign: NameArgument, as_json: JsonOption = False) -> None:
    """Let a campaign wait after the round under way, until `resume`; it stays paused when it is run anew."""
    from server.home import Home

    with told_plainly():
        Home.open(home).store().pause(campaign)
    _tell(campaign, "paused", "waits once the round under way has ended; `resume` lets it go on", as_json)


def resume(home: HomeArgument, campaign: NameArgument, as_json: JsonOption = False) -> None:
    """Let a paused campaign go on."""
    from server.home import Home

    with told_plainly():
        Home.open(home).store().resume(campaign)
    _tell(campaign, "resumed", "goes on, if it is being run; else `run` it", as_json)


def stop(home: HomeArgument, campaign: NameArgument, as_json: JsonOption = False) -> None:
    """End a campaign's run now. The open round is not committed; hospitals asked for it again pay nothing more."""
    from server import superlink
    from server.errors import SuperLinkError
    from server.home import Home
    from server.loopback import accepts

    with told_plainly():
        place = Home.open(home)
        run_id = place.store().stop(campaign)
        try:
            if accepts(place.port):  # else no run of Flower's is under way
                superlink.flower(place).stop(run_id)
        except SuperLinkError as error:
            raise SuperLinkError(f"campaign {campaign} commits no round any more, but {error}") from error
    _tell(campaign, "stopped", "is stopped; `run` takes it up from its last committed round", as_json)


def _tell(campaign: str, done: str, words: str, as_json: bool) -> None:
    typer.echo(json.dumps({"campaign": campaign, "done": done}) if as_json else f"{campaign} {words}")

"""`fedpath-consortium track`: a campaign's figures for MLflow or TensorBoard."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from server.cli_errors import told_plainly
from server.completion import campaigns


def track(
    home: Annotated[Path, typer.Argument(help="the consortium's home folder")],
    campaign: Annotated[str, typer.Argument(help="the campaign's name", autocompletion=campaigns)],
    mlflow: Annotated[
        str | None,
        typer.Option(help="an MLflow tracking URI, without a password: https://host, sqlite:///file"),
    ] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="a folder of TensorBoard's")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="go on until the campaign has ended")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Tell MLflow or TensorBoard what has left of a campaign: public scores, noised estimates, epsilon, bytes, seconds, drift.

    Called again it writes nothing twice.
    """
    from itertools import islice

    from server.errors import TrackerError
    from server.home import Home
    from server.trackers.tracked import tracked
    from server.trackers.tracker import Tracker
    from server.trackers.tracker import follow as telling
    from server.trackers.tracker_mlflow import MlflowTracker
    from server.trackers.tracker_tensorboard import TensorBoardTracker

    new, steps, state = 0, 0, ""
    with told_plainly():
        if mlflow is None and tensorboard is None:
            raise TrackerError("nowhere to write: give --mlflow URI or --tensorboard FOLDER")
        place = Home.open(home)
        store = place.store()
        tracked(store, place.name, campaign)  # there is such a campaign
        os.umask(0o077)
        trackers: list[Tracker] = [] if mlflow is None else [MlflowTracker(mlflow)]
        trackers += [] if tensorboard is None else [TensorBoardTracker(tensorboard)]
        with place.only_tracker(campaign):
            times = telling(lambda: tracked(store, place.name, campaign), trackers)
            for told, written in times if follow else islice(times, 1):
                new, state = new + written, told.state
                steps = max((figure.step for figure in told.figures), default=0)
                if follow and written and not as_json:
                    typer.echo(f"{campaign} is {state}: {written} new figures, through round {steps}")
    if as_json:
        typer.echo(json.dumps({"campaign": campaign, "state": state, "through": steps, "written": new}))
        return
    typer.echo(f"{campaign} is {state}: {new} figures were new in all, through round {steps}")

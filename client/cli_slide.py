"""`fedpath-hospital slide`: one slide, looked at as the model will."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import progress, refuse_existing


def show(
    home: HomeArgument,
    name: Annotated[
        Path,
        typer.Argument(metavar="SLIDE", help="a slide: its name as in the manifest, or a path"),
    ],
    out: Annotated[Path, typer.Option(help="the PNG to write; it must not be there yet")],
    mpp: Annotated[
        float | None,
        typer.Option(
            help="microns per level-0 pixel, where neither the file nor mpp.csv states them (or wrongly)"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a picture of a slide: what is taken for tissue, which tiles the model sees, what the manifest asks.

    Of the file it shows the tissue's pixels alone: no name, no label, no date. Private: it is a patient's tissue.
    """
    from client.evaluation.ask import find_asked, open_asked
    from client.evaluation.slide_look import asked_about, check_there, look, write_picture
    from client.home import home_at
    from client.model.base import Scales

    refuse_existing(out)
    with told_plainly(), progress() as tell:
        tell("looking at the slide")
        place = home_at(home)
        path, scale = find_asked(place, name)
        check_there(place, name, path)
        found = open_asked(path, scale if mpp is None else mpp)
        samples, note = asked_about(place, found)
        shown = look(found, Scales.read(place.settings.base / "fedpath.json"), samples)
        write_picture(out, shown)
    seen, grid = shown.tissue.overview, shown.grid
    told = {
        "tissue": float(seen.tissue.mean()),
        "ink": float(seen.ink.mean()),
        "tiles": grid.rows * grid.columns,
        "taken": len(shown.taken),
        "questions": len(samples),
        "regions": len(shown.marks),
        "note": note,
    }
    if as_json:
        typer.echo(json.dumps(told))
        return
    typer.echo(f"{told['tissue']:.1%} tissue, {told['ink']:.1%} pen or black")
    typer.echo(f"{told['taken']} of {told['tiles']} tiles are taken")
    typer.echo(note or f"{told['questions']} questions about it, {told['regions']} regions drawn")
    typer.echo(f"private: {out} shows a patient's tissue; keep it here")

"""`fedpath-hospital ask`: one question, answered here and now; nothing of it is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli_errors import told_plainly
from client.cli_evaluate import ExpertsOption, ModeArgument
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import plain, refuse_existing

if TYPE_CHECKING:
    from client.evaluation.ask import Reply


def ask(
    home: HomeArgument,
    slide: Annotated[
        Path, typer.Argument(help="a slide or an image: a path, or the name of a file in the slide folder")
    ],
    question: Annotated[str, typer.Argument(help="the question, as a manifest would ask it")],
    region: Annotated[
        str | None, typer.Option(help="X,Y,W,H in level-0 pixels; without it, the whole slide (or image)")
    ] = None,
    task: Annotated[str | None, typer.Option(help="the task, where the question is of one alone")] = None,
    mode: ModeArgument = None,
    thoughts: Annotated[
        bool, typer.Option("--thoughts", help="show what it thought, where it was asked to think first")
    ] = False,
    mpp: Annotated[
        float | None,
        typer.Option(help="microns per level-0 pixel, where the file states none (or a wrong one)"),
    ] = None,
    experts: ExpertsOption = None,
    draw: Annotated[
        Path | None, typer.Option(help="write a new PNG of the region with the answer drawn in")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask about a slide, a region of it, or an image: the answer, where its shapes lie, and which experts served."""
    from client.evaluation.answers import default_mode
    from client.evaluation.ask import Asked, find_asked, open_asked, region_of
    from client.evaluation.ask import ask as answered
    from client.evaluation.house import EvaluationError, open_model
    from client.home import Home

    refuse_existing(draw)
    with told_plainly():
        place = Home(home.absolute())
        path, scale = find_asked(place, slide)
        mpp = scale if mpp is None else mpp
        found = open_asked(path, mpp)
        where = region_of(found, region)
        if draw is not None and where is None:
            raise EvaluationError("--draw needs a --region: a whole slide's answer has no shapes")
        model = open_model(place, experts)
        asked = Asked(found.name, where, task, question)
        how = mode.value if mode else default_mode(model.which.stage)
        most = model.which.max_answer_tokens
        reply = answered(model.experts, found, asked, place.features, how, most)
        if draw is not None:
            _draw(draw, path, mpp, reply)
    if as_json:
        typer.echo(json.dumps(_values(reply)))
    else:
        _tell(reply, thoughts)


def _draw(file: Path, path: Path, mpp: float | None, reply: Reply) -> None:
    import io
    import os

    from client.evaluation.drawing import SIDE, drawn
    from client.slides.slide import open_slide

    region = reply.asked.region
    assert region is not None
    with open_slide(path, mpp) as reader:
        scale = max(1.0, max(region.width, region.height) / SIDE)
        image = reader.read(region.x, region.y, region.width, region.height, reader.slide.mpp * scale)
    buffer = io.BytesIO()
    drawn(image, (), reply.frame).save(buffer, "PNG")
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(buffer.getvalue())


def _values(reply: Reply) -> dict[str, Any]:
    from dataclasses import asdict

    shapes = [{"box": shape.box, "points": shape.points} for shape in reply.shapes]
    return {
        "answer": reply.answer,
        "thought": reply.thought,
        "said": reply.said,
        "experts": dict(reply.gates),
        "shapes": shapes,
        "asked": asdict(reply.asked),
    }


def _tell(reply: Reply, thoughts: bool) -> None:
    if thoughts and reply.thought is not None:
        typer.echo(f"thought: {plain(reply.thought)}")
    if reply.answer is None:
        typer.echo(f"no answer in the asked form; it said: {plain(reply.said)}")
    elif not reply.shapes:
        typer.echo(f"answer: {plain(reply.answer) or 'nothing'}")
    for shape in reply.shapes:
        what = "box" if _is_box(shape.points) else f"outline of {len(shape.points)} points in"
        typer.echo(
            f"{what} {', '.join(f'{value:.0f}' for value in shape.box)} (level-0 pixels: x1, y1, x2, y2)"
        )
    served = ", ".join(f"{name} {gate:.2f}" for name, gate in reply.gates.items())
    typer.echo(f"experts: {served or 'none: the base alone'}")


def _is_box(points: tuple[tuple[float, float], ...]) -> bool:
    return len(points) == 4 and len({x for x, _ in points}) == len({y for _, y in points}) == 2

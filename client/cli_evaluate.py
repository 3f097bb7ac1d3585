"""`fedpath-hospital evaluate`: for the hospital's eyes; nothing of it is sent."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import progress, refuse_existing

if TYPE_CHECKING:
    from client.evaluation.run import Report

ExpertsOption = Annotated[
    Path | None, typer.Option(help="a folder of experts; without it, those that the hospital received last")
]


class ModeOption(StrEnum):
    """How the model is asked."""

    DIRECT = "direct"
    THINKING = "thinking"


ModeArgument = Annotated[
    ModeOption | None,
    typer.Option(
        "--mode", help="ask for the answer alone, or for thoughts first; by default as the stage was trained"
    ),
]


def evaluate(
    home: HomeArgument,
    experts: ExpertsOption = None,
    mode: ModeArgument = None,
    out: Annotated[
        Path | None, typer.Option(help="folder to write; by default `evaluation` in the home")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the model all of this hospital's own questions, and score it. Private: nothing of it leaves.

    Prints a table; writes report.html, report.json, figures.svg and the answers. Killed, it goes on where it stopped.
    """
    from datetime import UTC, datetime

    from client.evaluation.answers import Asking
    from client.evaluation.examples import examples
    from client.evaluation.house import open_model, open_questions
    from client.evaluation.kept import FILE
    from client.evaluation.page import CHART, PAGE, VALUES, write_report
    from client.evaluation.page import as_json as values
    from client.evaluation.run import run
    from client.home import home_at
    from client.model.inputs import InputLoader
    from client.model.slide_features import SlideFeatures
    from client.tasks.segmenter import use_segmenter

    if out is not None and not (out / FILE).exists():  # else it is an evaluation's, and goes on
        refuse_existing(*(out / name for name in (PAGE, VALUES, CHART)))
    with told_plainly(), progress() as tell:
        tell("reading slides")
        place = home_at(home)
        model = open_model(place, experts)
        base = model.experts.base
        questions = open_questions(place, base.architecture.image_token)
        use_segmenter(place.settings.segmenter, questions.slides, str(base.device))
        folder = (out or place.evaluation).absolute()
        report = run(
            model,
            questions,
            Asking.of(model.which, mode.value if mode else None),
            folder,
            InputLoader(questions.slides, SlideFeatures(base, place.features)),
            lambda done, of: tell("questions asked", done, of),
            place.policy.gpu_memory_share,
        )
        pictures = examples(report.answers, questions.slides)
        page = write_report(folder, place.settings.name, report, pictures, datetime.now(UTC))
        told = values(place.settings.name, report)
    if as_json:
        typer.echo(json.dumps(told))
        return
    _tell(report)
    typer.echo(f"private: {page} and what lies beside it are of your own patients; keep them here")


def _tell(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    from client.evaluation.page import in_order

    table = Table("scale", "task", "metric", "mean", "95 % interval", "n")
    for _, row in in_order(report):
        low, high = row.ci95
        table.add_row(
            row.scale, row.task, row.metric, f"{row.mean:.3f}", f"{low:.3f} to {high:.3f}", str(row.n)
        )
    Console().print(table)
    which = ", ".join(f"{name} {digest[:12]}" for name, digest in report.which.experts_hash.items())
    typer.echo(f"experts: {which or 'none: the base alone'}; {report.mode} answers")
    for name, reason in report.skipped.items():
        typer.echo(f"left out: slide {name} ({reason})")

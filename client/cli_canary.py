"""`fedpath-audit canary`: it trains, so it needs a hospital's installation and stands in `client`."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli_errors import told_plainly
from privacy.command_line import Exit, progress

if TYPE_CHECKING:
    from client.canary import Report


class CanaryKind(StrEnum):
    """The kinds of canary, as the command line names them."""

    GRADIENT = "gradient"
    PATIENT = "patient"


def canary(
    home: Annotated[
        Path, typer.Argument(help="the hospital's home folder; nothing in it is changed", readable=False)
    ],
    kind: Annotated[CanaryKind, typer.Option(help="gradient: the worst patient; patient: a wrong answer")] = (
        CanaryKind.GRADIENT
    ),
    canaries: Annotated[int, typer.Option(min=20, help="how many; each takes part with chance 1/2")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of the training that is copied")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="steps a round")] = 10,
    noise_multiplier: Annotated[float, typer.Option(help="noise over clip norm, as planned")] = 1.0,
    sampling_rate: Annotated[float, typer.Option(help="chance of a patient in a step, as planned")] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Train once with canary patients, in a throw-away copy, and bound epsilon from below.

    Uses the home's own patients: what it prints is for the hospital's eyes. Exit status 1 where a lower bound
    lies above the claim.
    """
    from client.canary_run import Training, run
    from client.home import home_at

    training = Training(kind.value, canaries, rounds, steps, noise_multiplier, sampling_rate)
    with told_plainly(), progress() as tell:
        tell("canary training")
        report = run(home_at(home), training, lambda done, of: tell("rounds of canary training", done, of))
    if as_json:
        typer.echo(json.dumps({**asdict(report), "refuted": report.refuted}))
    else:
        _tell(report)
    raise typer.Exit(Exit.FOUND if report.refuted else 0)


def _tell(report: Report) -> None:
    typer.echo(
        f"{report.correct} of {report.guesses} guesses right, about {report.canaries} {report.kind} canaries"
    )
    typer.echo(f"claimed: epsilon {report.epsilon_claimed:.2f} at delta {report.delta:g}")
    for name, bound, most in (
        ("any mechanism", report.lower_bound, report.lower_bound_at_most),
        ("Gaussian trade-off", report.lower_bound_gaussian, report.lower_bound_gaussian_at_most),
    ):
        sure = f"with {report.confidence:.0%} confidence; had all been right, {most:.2f}"
        typer.echo(f"measured: epsilon at least {bound:.2f} ({name}, {sure})")
    typer.echo(
        "REFUTED: more was told than the claim allows; train nothing with this code"
        if report.refuted
        else "not refuted. These bounds are loose: far below the claim they prove nothing about it. "
        "What they can't see, `fedpath-hospital selftest` is for"
    )

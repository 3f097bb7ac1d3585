"""`fedpath-hospital curve`: how the rewards rose, for the hospital's eyes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from privacy.command_line import refuse_existing


def curve(
    home: HomeArgument,
    campaign: Annotated[
        str | None, typer.Option(help="a campaign's name; without it, the one trained last")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="write the curves to this new SVG file")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show GRPO's mean reward (0 to 1.5) by task and step. Private: it is in nothing that leaves."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from client.evaluation.chart import lines, running_mean
    from client.home import home_at
    from client.reward_curve import curves, read_marks
    from privacy import durable

    refuse_existing(out)
    with told_plainly():
        marks = read_marks(home_at(home).rewards, campaign)
        found = curves(marks)
        if out is not None:
            durable.replace(out, lines(found, "step", "mean reward").encode())
    if as_json:
        typer.echo(json.dumps({"campaign": marks[0].campaign, "marks": [asdict(mark) for mark in marks]}))
        return
    table = Table("task", "steps", "rollouts", "first tenth", "last tenth", title=marks[0].campaign)
    for task, points in found.items():
        values = [value for _, value in points]
        tenth = max(1, len(values) // 10)
        rollouts = sum(mark.rollouts for mark in marks if mark.task == task)
        first, last = sum(values[:tenth]) / tenth, running_mean(values)[-1]
        table.add_row(task, str(len(values)), str(rollouts), f"{first:.3f}", f"{last:.3f}")
    Console().print(table)

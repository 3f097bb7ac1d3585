"""What the person at the screen sees while the demo runs: the round, each hospital's work, time left, epsilon so far.

The figures come from where each person would have them: the consortium's store for rounds, and each hospital's own
status socket, which local IT alone can reach, for steps and epsilon.  Nothing of it crosses a courier.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.house import CAMPAIGN, House
from demo.processes import status_of
from demo.recipe import BUDGET, Recipe
from server.status import status

POLL_SECONDS = 2.0
# Seconds that one unit of work takes against the others, roughly: they only shape the time left.
EVALUATION, STEP = 20.0, {"sft": 4.0, "grpo": 6.0}


def follow(house: House, recipe: Recipe, console: Console, ended: Callable[[], bool]) -> None:
    """Shows progress until `ended`; a live table on a terminal, a line for each change elsewhere."""
    began = time.monotonic()
    if not console.is_terminal:
        said = ""
        while not ended():
            line = _line(house)
            if line != said:
                console.print(
                    f"[{time.monotonic() - began:5.0f} s] {line}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
                said = line
            time.sleep(POLL_SECONDS)
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        while not ended():
            live.update(_view(house, recipe, time.monotonic() - began))
            time.sleep(POLL_SECONDS / 2)


def _now(house: House) -> dict[str, Any] | None:
    campaigns = status(house.consortium)["campaigns"]
    return next((c for c in campaigns if c["name"] == CAMPAIGN), None)


def _line(house: House) -> str:
    now = _now(house)
    if now is None:
        return "waiting for the run to start"
    parts = []
    for home in house.homes:
        own = status_of(home)
        if own and own["phase"] != "idle":
            parts.append(f"{home.settings.name} {own['phase']} {own['step']}/{own['of']}")
    return f"{now['rounds_committed']}/{now['rounds_total']} rounds; {now['doing']}; " + ", ".join(parts)


def _view(house: House, recipe: Recipe, seconds: float) -> Group:
    now = _now(house)
    table = Table("hospital", "now", "step", "epsilon", "releases", "bytes out", "network", expand=False)
    done_steps = []
    for home in house.homes:
        own = status_of(home)
        if own is None:
            table.add_row(home.folder.name, "starting", *[""] * 5)
            continue
        public = home is house.evaluator
        step = f"{own['step']}/{own['of']}" if own["of"] else ""
        spent = "public data" if public else f"{own['epsilon']:.2f} of {BUDGET:g}"
        cells = (
            own["phase"],
            step,
            spent,
            str(own["releases_sent"]),
            f"{own['bytes_sent']:,}",
            own["network"],
        )
        table.add_row(home.folder.name, *cells)
        if own["phase"] == "training":
            done_steps.append(own["step"])
    if now is None:
        return Group(Text("waiting for the run to start"), table)
    done, total = _work(now, recipe, sum(done_steps) / len(done_steps) if done_steps else 0.0)
    left = (
        f"about {seconds / done * (total - done) / 60:.0f} min left"
        if done > 60
        else "measuring the time left"
    )
    head = f"{now['rounds_committed']} of {now['rounds_total']} rounds; {now['doing']}; {left}"
    return Group(Text(head, style="bold"), table)


def _work(now: dict[str, Any], recipe: Recipe, steps: float) -> tuple[float, float]:
    """Units of work done, and in all."""
    by_round = [STEP[stage.kind] for stage in recipe.rounds]
    costs = [step * stage.mechanism.steps for step, stage in zip(by_round, recipe.rounds, strict=True)]
    committed = now["rounds_committed"]
    points = len({row["point"] for row in now["evaluations"]})
    step = by_round[min(committed, len(by_round) - 1)]
    return sum(costs[:committed]) + points * EVALUATION + steps * step, sum(costs) + 3 * EVALUATION

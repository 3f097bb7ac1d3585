"""What if so many small hospitals took part? One command, on one machine, in Flower's simulation engine.

    python -m demo.what_if [--hospitals 50] [--patients 24] [--rounds 2] [--workers CORES] [--out build/what-if]

Hospitals of three kinds, each with an organ, stain and scanner of its kind and few patients of its own, drawn anew; the
embedded base; SFT under each hospital's own ledger and budget, exactly as `fedpath-consortium simulate` runs any campaign.
At the end: scores before and after on public patients, epsilon, seconds a round, memory. It needs the extra `simulation`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from client.errors import ClientError
from demo.cohort import SITES, Site, write_cohort
from demo.collect import epsilon_by_round
from demo.house import CAMPAIGN, House, build
from demo.processes import Child, ProcessError, Processes
from demo.recipe import ANSWER_TOKENS, BUDGET, DELTA, DEMO, Recipe, cohorts
from privacy.errors import PrivacyError
from privacy.experts import ROUTER, SCALE_EXPERTS
from privacy.mechanism import Mechanism
from server.errors import ServerError
from server.status import status
from strategies.definition import Stage

POLL_SECONDS = 1.0
SFT = Stage(
    "sft",
    2,
    (*SCALE_EXPERTS, ROUTER),
    2.5e-2,
    Mechanism(0.5, 1.0, 0.25, 4, 6),
    max_answer_tokens=ANSWER_TOKENS,
)


def recipe(patients: int = 24, rounds: int = SFT.rounds, public_patients: int = 20) -> Recipe:
    """What is trained: the demo's SFT, in steps that few patients can pay for."""
    return replace(
        DEMO, patients=patients, public_patients=public_patients, stages=(replace(SFT, rounds=rounds),)
    )


def many_sites(hospitals: int) -> tuple[Site, ...]:
    """So many hospitals, of the demo's three kinds in turn."""
    return tuple(
        replace(
            SITES[index % len(SITES)], name=f"{SITES[index % len(SITES)].name}-{index // len(SITES) + 1:02}"
        )
        for index in range(hospitals)
    )


def run(out: Path, asked: Recipe, hospitals: int, workers: int, console: Console) -> dict[str, Any]:
    """Draws the slides, runs the campaign to its end and writes result.json; returns the result."""
    began, sites = time.monotonic(), many_sites(hospitals)
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / "federation", ignore_errors=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("hospitals drawn", total=hospitals + 1)
        for cohort in cohorts(out / "data", asked, asked.seed, sites):
            write_cohort(cohort, workers, lambda done, of: None)
            bar.advance(task)
        house = build(out / "federation", out / "data", asked, sites)
        drawn = time.monotonic() - began
        with Processes(out / "logs") as processes:
            folders = [str(home.folder) for home in house.homes]
            command = ["simulate", str(house.consortium.folder), str(house.campaign), *folders]
            child = processes.start("campaign", ["server.cli", *command, "--workers", str(workers)])
            memory = _follow(house, asked, bar, child)
    result = collect(house) | {
        "hospitals": hospitals,
        "workers": workers,
        "drawing_s": round(drawn, 1),
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_mib": memory >> 20,
    }
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def collect(house: House) -> dict[str, Any]:
    """The campaign's own figures: scores, epsilon by hospital, seconds a round."""
    campaign = _campaign(house)
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in campaign["evaluations"]:
        if not row["further"]:
            found.setdefault((row["scale"], row["task"], row["metric"]), {})[row["point"]] = row
    return {
        "scores": [
            {
                "scale": scale,
                "task": task,
                "metric": metric,
                "before": at["base"]["mean"],
                "after": at["sft"]["mean"],
            }
            | {"ci95": at["sft"]["ci95"], "n": at["sft"]["n"]}
            for (scale, task, metric), at in found.items()
        ],
        "epsilon": {home.settings.name: epsilon_by_round(home)[-1] for home in house.hospitals},
        "rounds": [_round(row) for row in campaign["rounds"]],
    }


def table(result: dict[str, Any]) -> Table:
    """The result for the eye."""
    title = f"{result['hospitals']} hospitals, public patients"
    shown = Table("scale, task", "metric", "before", "after", "95 % interval", "n", title=title)
    for row in result["scores"]:
        low, high = row["ci95"]
        scores = (f"{row['before']:.3f}", f"{row['after']:.3f}", f"{low:.3f} to {high:.3f}")
        shown.add_row(f"{row['scale']} {row['task']}", row["metric"], *scores, str(row["n"]))
    epsilons, rounds = result["epsilon"].values(), result["rounds"]
    shown.caption = (
        f"epsilon a hospital {min(epsilons):.2f} to {max(epsilons):.2f} of {BUDGET:g} (delta {DELTA:g}); "
        + "; ".join(
            f"round {row['round']}: {row['contributors']} hospitals, {row['seconds']:.0f} s" for row in rounds
        )
        + f"\n{result['seconds'] / 60:.1f} minutes, {result['drawing_s'] / 60:.1f} of them drawing; at most "
        f"{result['peak_memory_mib']:,} MiB in {result['workers']} workers, Flower and ray"
    )
    return shown


def _round(row: dict[str, Any]) -> dict[str, Any]:
    begun, ended = (datetime.fromisoformat(row[key]) for key in ("opened_at", "committed_at"))
    contributors = {verdict["hospital"] for verdict in row["verdicts"] if verdict["fault"] is None}
    seconds = (ended - begun).total_seconds()
    return {"round": row["number"], "contributors": len(contributors), "seconds": round(seconds, 1)}


def _campaign(house: House) -> dict[str, Any]:
    return next((c for c in status(house.consortium)["campaigns"] if c["name"] == CAMPAIGN), {})


def _follow(house: House, asked: Recipe, bar: Progress, child: Child) -> int:
    """Shows the campaign until it ends; the most bytes that it took. Raises `ProcessError` if it fails."""
    task = bar.add_task("the engine starts", total=len(asked.rounds) * len(house.hospitals))
    memory = 0
    while child.process.poll() is None:
        memory = max(memory, _bytes_of(house.consortium.folder))
        if campaign := _campaign(house):
            answers = sum(ask["answered_at"] is not None for row in campaign["rounds"] for ask in row["asks"])
            bar.update(task, completed=answers, description=campaign["doing"])
        time.sleep(POLL_SECONDS)
    if child.process.returncode != 0:
        raise ProcessError(f"the campaign ended with status {child.process.returncode}:\n{child.tail()}")
    return memory


def _bytes_of(folder: Path) -> int:
    """What all processes whose environment names `folder` hold, shared pages shared out among those that share them."""
    total, name = 0, os.fsencode(folder)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if name in (process / "environ").read_bytes():
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="demo.what_if", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hospitals", type=_from(2), default=50)
    parser.add_argument("--patients", type=_from(1), default=24, help="of each hospital")
    parser.add_argument("--rounds", type=_from(1), default=SFT.rounds)
    parser.add_argument(
        "--workers", type=_from(1), default=os.cpu_count() or 1, help="hospitals at work at once"
    )
    parser.add_argument("--out", type=Path, default=Path("build/what-if"))
    asked, console = parser.parse_args(), Console()
    trained = recipe(asked.patients, asked.rounds)
    try:
        console.print(table(run(asked.out.absolute(), trained, asked.hospitals, asked.workers, console)))
    except (ProcessError, ClientError, ServerError, PrivacyError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


def _from(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return int(text)

    return whole


if __name__ == "__main__":
    main()

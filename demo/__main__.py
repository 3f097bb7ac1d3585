"""`make demo`: three hospitals train one model on this machine, over a real federation, and you can watch.

    python -m demo [--out build/demo]

A demo that was interrupted goes on from the last committed round; one that had ended is run anew on the same slides.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from client.errors import ClientError
from demo.cohort import write_cohort
from demo.collect import collect
from demo.house import CAMPAIGN, EMBEDDED, House, build, open_house
from demo.processes import (
    Child,
    ProcessError,
    Processes,
    start_agent,
    start_courier,
    start_superlink,
    wait_for_agent,
)
from demo.recipe import DEMO, Recipe, cohorts
from demo.report import write_report
from demo.watch import follow
from privacy.base_folder import folder_hash
from privacy.errors import PrivacyError
from server.errors import ServerError
from server.status import status

PROCESSES = 2


def run(out: Path, recipe: Recipe, console: Console) -> dict:
    """Draws the slides, runs the federation to its end, writes result.json and report.html; returns the result."""
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    _draw(out / "data", recipe, console)
    house = _house(out, recipe, console)
    with Processes(out / "logs") as processes:
        agents = [start_agent(processes, home) for home in house.homes]
        start_superlink(processes, house.consortium.folder, house.consortium.port)
        console.print("agents read their slides; SuperLink is up (TLS, authenticated nodes)")
        for home, agent in zip(house.homes, agents, strict=True):
            wait_for_agent(home, agent)
            start_courier(processes, home)
        _campaign(processes, house, recipe, console)
        result = collect(house, time.monotonic() - began)
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    write_report(result, out / "report.html")
    return result


def _draw(data: Path, recipe: Recipe, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        for cohort in cohorts(data, recipe, recipe.seed):
            task = bar.add_task(f"slides of {cohort.folder.name}")

            def tell(done: int, of: int, task: TaskID = task) -> None:
                bar.update(task, completed=done, total=of)

            write_cohort(cohort, PROCESSES, tell)
    count = sum(1 for _ in data.glob("*/slides/*.svs"))
    console.print(
        f"{count:,} slides of {len(cohorts(data, recipe, 0)) - 1} hospitals and a public set lie in {data}"
    )


def _house(out: Path, recipe: Recipe, console: Console) -> House:
    """The interrupted federation of the same base and recipe, or a new one."""
    folder, stamp = out / "federation", out / "federation" / "stamp.json"
    wanted = json.dumps({"base": folder_hash(EMBEDDED), "recipe": asdict(recipe)}, indent=1)
    if stamp.exists() and stamp.read_text() == wanted:
        house = open_house(folder)
        begun = [c for c in status(house.consortium)["campaigns"] if c["name"] == CAMPAIGN]
        if not begun or begun[0]["state"] != "done":
            done = begun[0]["rounds_committed"] if begun else 0
            console.print(f"going on with the interrupted federation after {done} committed rounds")
            return house
    shutil.rmtree(folder, ignore_errors=True)
    house = build(folder, out / "data", recipe)
    stamp.write_text(wanted)
    return house


def _campaign(processes: Processes, house: House, recipe: Recipe, console: Console) -> None:
    """Runs the campaign as a coordinator does, and shows it. Raises `ProcessError` if it fails."""
    arguments = ["server.cli", "run", str(house.consortium.folder), str(house.campaign)]
    child: Child = processes.start("campaign", arguments)
    follow(house, recipe, console, lambda: child.process.poll() is not None)
    if child.process.returncode != 0:
        raise ProcessError(f"the campaign ended with status {child.process.returncode}:\n{child.tail()}")


def _closing(result: dict, out: Path) -> Table:
    table = Table(
        "scale, task",
        "metric",
        "base",
        "SFT",
        "SFT + GRPO",
        "95 % interval",
        title="federated model, public patients",
    )
    for row in result["rows"]:
        low, high = row["ci95"]
        scores = [f"{row[key]:.3f}" for key in ("base", "sft", "federated")]
        table.add_row(f"{row['scale']} {row['task']}", row["metric"], *scores, f"{low:.3f} to {high:.3f}")
    spent = "; ".join(
        f"{h['name']} {h['epsilon']:.2f}, {h['bytes_out']:,} bytes out" for h in result["hospitals"]
    )
    delta, minutes = result["hospitals"][0]["delta"], result["seconds"] / 60
    table.caption = f"epsilon at delta {delta:g}: {spent}\n{minutes:.1f} minutes; {out / 'report.html'}"
    return table


def _to_look_at(out: Path) -> str:
    """What somebody who has just seen the table may want to open."""
    federation = out / "federation"
    coordinator = f"{federation}/consortium/keys/coordinator.key.pub"
    books = f"{out}/north.jsonl {out}/journal.jsonl"
    keys = f"--key {federation}/north/keys/release.key.pub --coordinator {coordinator}"
    lines = (
        "to look at it (docs/start.md says more; the programs are in .venv/bin):",
        f"  fedpath-hospital serve {federation}/north                # a hospital's page; it prints its address",
        f"  fedpath-consortium users add {federation}/consortium cora --role coordinator",
        f"  fedpath-consortium serve {federation}/consortium         # the coordinator's page",
        f"  fedpath-hospital export {federation}/north {out}/north.jsonl",
        f"  fedpath-consortium export {federation}/consortium {out}/journal.jsonl",
        f"  fedpath-audit report {books} {keys} --out {out}/audit.html",
    )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    asked = parser.parse_args()
    console = Console()
    try:
        console.print(_closing(run(asked.out.absolute(), DEMO, console), asked.out))
        console.print(_to_look_at(asked.out), soft_wrap=True, markup=False, highlight=False)
    except (ProcessError, ClientError, ServerError, PrivacyError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted: `make demo` goes on from the last committed round")
        sys.exit(130)


if __name__ == "__main__":
    main()

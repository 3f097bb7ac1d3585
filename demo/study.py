"""What the demo has no time for: is each part of the method worth it, and what does privacy cost?  Hours, resumable.

    make study        # goes on after the last round where it was stopped: trains what docs/study-runs/ lacks

`demo/study_runs.py` says which runs there are, `demo/study_table.py` which lines the table has: base, federated SFT and
GRPO at three levels of privacy, learned gates, one shared LoRA, no RL, local and pooled training, all scored on the same
public patients.  It writes docs/results.md, of the seeds whose every run has ended.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from client.evaluation.chart import lines
from demo.cohort import SITES, write_cohort
from demo.house import EMBEDDED
from demo.recipe import STUDY, cohorts
from demo.study_runs import ENCODED, LEVELS, RUNS, Job, encode, experts_of, run
from demo.study_table import Results, curves, page, picture, read_runs
from privacy.base_folder import folder_hash
from privacy.experts import EXPERTS

SEEDS = (11, 12, 13)
FOUND = Path("docs/study-runs")


def begin(folder: Path, *results: str) -> None:
    """Takes up a folder of the same base and recipe.

    Ends the program where there are `results` of another: they are hours of work, and nobody's to delete unasked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "recipe.json"
    wanted = {"base": folder_hash(EMBEDDED), "recipe": _stated(asdict(STUDY))}
    held = any(path for pattern in results for path in folder.glob(pattern))
    if held and not (stamp.exists() and _stated(json.loads(stamp.read_text())) == wanted):
        raise SystemExit(f"{folder}: holds results of another base or recipe: move it away, or delete it")
    stamp.write_text(json.dumps(wanted, indent=1) + "\n")


def _stated(value: Any) -> Any:
    """The value as JSON, without what is None: a field that the recipe makes no use of changes nothing."""
    if isinstance(value, dict):
        return {key: _stated(item) for key, item in value.items() if item is not None}
    return [_stated(item) for item in value] if isinstance(value, list | tuple) else value


def prepare(work: Path, seed: int, pool: ProcessPoolExecutor) -> None:
    """The seed's cohorts, drawn and encoded."""
    data = work / "data" / str(seed)
    for cohort in cohorts(data, STUDY, seed):
        write_cohort(cohort, os.cpu_count() or 1, lambda done, of: None)
    labels = {site.name: experts_of(site) for site in SITES} | {"public": list(EXPERTS)}
    list(pool.map(encode, [data / name for name in labels], labels.values()))


def main() -> None:
    """Runs what is missing, a job a core, then writes the results of all whole seeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--found", type=Path, default=FOUND, help="what finished runs found")
    parser.add_argument("--work", type=Path, default=Path("build/study"), help="cohorts; gigabytes")
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=list(SEEDS), help="none: only write the page anew"
    )
    asked = parser.parse_args()
    console = Console()
    begin(asked.found, "*.json.gz")
    begin(asked.work, f"data/*/*/{ENCODED}")
    with (
        Progress(console=console) as bar,
        ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool,
    ):
        working = bar.add_task("training runs", total=len(asked.seeds) * len(RUNS))
        for seed in asked.seeds:
            jobs = [Job(name, seed, asked.found, asked.work) for name in RUNS]
            missing = [job for job in jobs if not job.file.exists()]
            missing.sort(key=lambda job: list(LEVELS).index(RUNS[job.run].level))  # the demo's level first
            bar.advance(working, len(jobs) - len(missing))
            if missing:
                prepare(asked.work, seed, pool)
            for future in as_completed([pool.submit(run, job) for job in missing]):
                future.result()
                bar.advance(working)
    results = Results(read_runs(asked.found, SEEDS))
    text = page(results)
    Path("docs/results.md").write_text(text)
    for level in results.levels:
        numbered = {task: list(enumerate(values, 1)) for task, values in curves(results, level).items()}
        Path("docs", picture(level)).write_text(lines(numbered, "step", "mean reward"))
    console.print(text, soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    main()

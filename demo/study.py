"""What the demo has no time for: is federation worth it, is GRPO, and what does privacy cost?  Three seeds, hours, resumable.

    make study        # goes on where it was stopped; every finished training run stands under build/study/

Arms, all scored on the same public validation patients:

    base              nothing trained
    local             each hospital alone, SFT then GRPO, same privacy; the mean of the three hospitals' models
    federated SFT     three hospitals together, scale experts only
    federated         three hospitals together, SFT then GRPO: what the demo runs
    no privacy        federated, clipped but without noise
    pooled            all patients in one place, clipped but without noise

It writes build/study/result.json and the table in docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from scipy import stats

from client.model.base import Base
from demo.arms import Hospital, fresh, open_hospital, pooled, score, start, train_stage, without_noise
from demo.cohort import SITES, Site, write_cohort
from demo.house import EMBEDDED
from demo.recipe import DELTA, STUDY, Recipe, cohorts
from privacy.accounting import epsilon
from privacy.experts import EXPERTS

SEEDS = (11, 12, 13)
RUNS = ("base", *(f"local {s.name}" for s in SITES), "federated", "no privacy", "pooled")
ARMS = {
    "base": ("base", "base"),
    "local": ("local", "grpo"),
    "federated SFT": ("federated", "sft"),
    "federated": ("federated", "grpo"),
    "no privacy": ("no privacy", "grpo"),
    "pooled": ("pooled", "grpo"),
}


@dataclass(frozen=True)
class Job:
    """One training run: which hospitals, with or without noise, under one seed."""

    run: str
    seed: int
    out: Path

    @property
    def file(self) -> Path:
        """Where its scores stand once it has ended."""
        return self.out / f"{self.seed}-{self.run.replace(' ', '-')}.json"


def experts_of(site: Site) -> list[str]:
    """The experts that a site has labels for."""
    return [e for e in EXPERTS if e.removeprefix("task/") not in site.unlabelled]


def run(job: Job, recipe: Recipe = STUDY) -> None:
    """Trains one arm and writes its scores after each stage."""
    torch.set_num_threads(1)
    base = Base.load(EMBEDDED)
    data = job.out / "data" / str(job.seed)
    public = open_hospital(data / "public", base, EXPERTS, 1)
    experts = fresh(base, recipe)
    state = start(experts)
    found: dict[str, Any] = {"job": {"run": job.run, "seed": job.seed}}
    began = time.monotonic()
    if job.run == "base":
        found["base"] = [asdict(row) for row in score(experts, state, public, "base")]
    else:
        hospitals = _hospitals(job, data, base, recipe)
        noisy = job.run not in ("no privacy", "pooled")
        first = 1
        for stage in (recipe.sft, recipe.grpo):
            state = train_stage(
                experts, hospitals, state, stage if noisy else without_noise(stage), recipe, first, job.seed
            )
            first += stage.rounds
            found[stage.kind] = [asdict(row) for row in score(experts, state, public, stage.kind)]
    found["seconds"] = round(time.monotonic() - began)
    part = job.file.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.replace(job.file)


def _hospitals(job: Job, data: Path, base: Base, recipe: Recipe) -> list[Hospital]:
    sites = [s for s in SITES if not job.run.startswith("local") or job.run.endswith(s.name)]
    opened = [open_hospital(data / s.name, base, experts_of(s), recipe.patients) for s in sites]
    return [pooled(opened)] if job.run == "pooled" else opened


def summarise(out: Path, recipe: Recipe) -> dict[str, Any]:
    """Means over the seeds whose runs are all done, by arm and row, with Student's 95 % interval over seeds."""
    done = {
        (s, r): json.loads(Job(r, s, out).file.read_text())
        for s in SEEDS
        for r in RUNS
        if Job(r, s, out).file.exists()
    }
    complete = [s for s in SEEDS if all((s, r) in done for r in RUNS)]
    arms: dict[str, Any] = {}
    for arm, (name, stage) in ARMS.items():
        runs = [r for r in RUNS if r == name or r.startswith(f"{name} ")]
        cells: dict[str, list[float]] = {}
        for seed in complete:
            for row in range(len(done[seed, runs[0]][stage])):
                entries = [done[seed, r][stage][row] for r in runs]
                key = f"{entries[0]['scale']}/{entries[0]['task']}"
                cells.setdefault(key, []).append(float(np.mean([e["mean"] for e in entries])))
        means = [float(np.mean(seeds)) for seeds in zip(*cells.values(), strict=True)]
        arms[arm] = {
            "rows": {key: {"mean": float(np.mean(v)), "seeds": v, "ci95": _interval(v)} for key, v in cells.items()},
            "mean": float(np.mean(means)), "seeds": means, "ci95": _interval(means),
        }  # fmt: skip
    spent = epsilon(
        [recipe.sft.mechanism.event()] * recipe.sft.rounds
        + [recipe.grpo.mechanism.event()] * recipe.grpo.rounds,
        DELTA,
    )
    return {"seeds": complete, "epsilon": spent, "delta": DELTA, "arms": arms}


def _interval(values: list[float]) -> list[float]:
    """Student's 95 % interval of the mean over seeds."""
    if len(values) < 2:
        return [values[0], values[0]]
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return [float(np.mean(values)) - half, float(np.mean(values)) + half]


def table(result: dict[str, Any]) -> str:
    """docs/results.md."""
    arms = result["arms"]
    rows = list(next(iter(arms.values()))["rows"])
    head = "| arm | " + " | ".join(rows) + " | mean |\n|---|" + "---|" * (len(rows) + 1) + "\n"
    lines = []
    for arm, found in arms.items():
        cells = [f"{found['rows'][r]['mean']:.3f}" for r in rows]
        lines.append(
            f"| {arm} | "
            + " | ".join(cells)
            + f" | {found['mean']:.3f} ({found['ci95'][0]:.3f} to {found['ci95'][1]:.3f}) |"
        )
    seeds = ", ".join(map(str, result["seeds"]))
    return (
        "# Results of the study\n\n"
        f"`make study`, seeds {seeds}; every private arm spends epsilon {result['epsilon']:.2f} at delta {result['delta']:g} "
        "a hospital, patient-level. Metrics: accuracy (classification, questions), AP50 (detection), Dice (segmentation), on "
        "public validation patients of all three sites. Intervals: Student's 95 % over seeds.\n\n"
        + head
        + "\n".join(lines)
        + "\n"
    )


def main() -> None:
    """Runs what is missing, two jobs at a time, then writes the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/study"))
    asked = parser.parse_args()
    console = Console()
    asked.out.mkdir(parents=True, exist_ok=True)
    with Progress(console=console) as bar:
        drawing = bar.add_task("drawing slides", total=len(SEEDS))
        for seed in SEEDS:
            for cohort in cohorts(asked.out / "data" / str(seed), STUDY, seed):
                write_cohort(cohort, os.cpu_count() or 1, lambda done, of: None)
            bar.advance(drawing)
        jobs = [job for seed in SEEDS for r in RUNS if not (job := Job(r, seed, asked.out)).file.exists()]
        training = bar.add_task("training runs", total=len(jobs))
        with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
            for future in as_completed([pool.submit(run, job) for job in jobs]):
                future.result()
                bar.advance(training)
    result = summarise(asked.out, STUDY)
    (asked.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    text = table(result)
    Path("docs/results.md").write_text(text)
    console.print(text)


if __name__ == "__main__":
    main()

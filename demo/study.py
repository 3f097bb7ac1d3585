"""What the demo has no time for: is federation worth it, is GRPO, and what does privacy cost?  Three seeds, hours, resumable.

    make study        # goes on where it was stopped; every finished training run stands under build/study/

Arms, all scored on the same public validation patients:

    base              nothing trained
    local             each hospital alone, SFT then GRPO, same privacy; the mean of the three hospitals' models
    federated SFT     three hospitals together, scale experts only
    federated         three hospitals together, SFT then GRPO: what the demo runs
    no privacy        federated, clipped but without noise
    pooled            all patients in one place, clipped but without noise

Each is scored after SFT too, and in the form of answer that its last stage did not train.  It writes
build/study/result.json and the table in docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from scipy import stats

from client.evaluation.answers import Mode
from client.model.base import Base, folder_hash
from client.model.experts import Experts
from demo.arms import (
    Hospital,
    State,
    encoded,
    fresh,
    open_hospital,
    pooled,
    score,
    start,
    train_stage,
    with_inputs,
    without_noise,
)
from demo.cohort import SITES, Site, write_cohort
from demo.house import EMBEDDED
from demo.recipe import DELTA, STUDY, Recipe, cohorts
from privacy.accounting import epsilon
from privacy.experts import EXPERTS

SEEDS = (11, 12, 13)
ENCODED = "encoded.pt"
RUNS = ("federated", "no privacy", "pooled", *(f"local {s.name}" for s in SITES), "base")  # the longest first
ARMS = {  # arm: run, stage, form of answer
    "base": ("base", "base", "direct"),
    "local SFT": ("local", "sft", "direct"),
    "local": ("local", "grpo", "thinking"),
    "federated SFT": ("federated", "sft", "direct"),
    "federated": ("federated", "grpo", "thinking"),
    "no privacy SFT": ("no privacy", "sft", "direct"),
    "no privacy": ("no privacy", "grpo", "thinking"),
    "pooled SFT": ("pooled", "sft", "direct"),
    "pooled": ("pooled", "grpo", "thinking"),
}
OTHER_FORM = {
    "base, asked to think": ("base", "base", "thinking"),
    "local, asked directly": ("local", "grpo", "direct"),
    "federated SFT, asked to think": ("federated", "sft", "thinking"),
    "federated, asked directly": ("federated", "grpo", "direct"),
    "pooled SFT, asked to think": ("pooled", "sft", "thinking"),
    "pooled, asked directly": ("pooled", "grpo", "direct"),
}
DIFFERENCES = {
    "federated over local": ("federated", "local"),
    "federated over local, both asked directly": ("federated, asked directly", "local, asked directly"),
    "SFT + GRPO over SFT": ("federated", "federated SFT"),
    "what privacy costs": ("no privacy", "federated"),
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


def encode(folder: Path, experts: Sequence[str]) -> None:
    """Reads and encodes every input of a cohort once, to a file in its folder."""
    torch.set_num_threads(1)
    done = folder / ENCODED
    if not done.exists():
        part = done.with_suffix(".part")
        torch.save(encoded(open_hospital(folder, Base.load(EMBEDDED), experts, STUDY.patients)), part)
        part.replace(done)


def open_encoded(folder: Path, base: Base, experts: Sequence[str]) -> Hospital:
    """A cohort whose inputs are at hand."""
    held = torch.load(folder / ENCODED, weights_only=False)  # our own file
    return with_inputs(open_hospital(folder, base, experts, STUDY.patients), held)


def run(job: Job) -> None:
    """Trains one arm and writes its scores after each stage."""
    torch.set_num_threads(1)
    data, base = job.out / "data" / str(job.seed), Base.load(EMBEDDED)
    public = open_encoded(data / "public", base, EXPERTS)
    experts = fresh(base, STUDY)
    state = start(experts)
    found: dict[str, Any] = {"job": {"run": job.run, "seed": job.seed}}
    began = time.monotonic()
    if job.run == "base":
        found["base"] = _scores(experts, state, public, "base")
    else:
        sites = [s for s in SITES if not job.run.startswith("local") or job.run.endswith(s.name)]
        hospitals = [open_encoded(data / s.name, base, experts_of(s)) for s in sites]
        trained = [pooled(hospitals)] if job.run == "pooled" else hospitals
        noisy = job.run not in ("no privacy", "pooled")
        first = 1
        for stage in (STUDY.sft, STUDY.grpo):
            mechanism = stage if noisy else without_noise(stage)
            state = train_stage(experts, trained, state, mechanism, STUDY, first, job.seed)
            first += stage.rounds
            found[stage.kind] = _scores(experts, state, public, stage.kind)
    found["seconds"] = round(time.monotonic() - began)
    part = job.file.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.replace(job.file)


def _scores(experts: Experts, state: State, public: Hospital, stage: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by form of answer."""
    modes: tuple[Mode, ...] = ("direct", "thinking")
    return {mode: [asdict(row) for row in score(experts, state, public, stage, mode)] for mode in modes}


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
    for arm, (name, stage, mode) in (ARMS | OTHER_FORM).items():
        runs = [r for r in RUNS if r == name or r.startswith(f"{name} ")]
        cells: dict[str, list[float]] = {}
        for seed in complete:
            for entries in zip(*(done[seed, r][stage][mode] for r in runs), strict=True):
                key = f"{entries[0]['scale']}/{entries[0]['task']}"
                cells.setdefault(key, []).append(float(np.mean([e["mean"] for e in entries])))
        means = [float(np.mean(seeds)) for seeds in zip(*cells.values(), strict=True)]
        arms[arm] = {
            "rows": {key: {"mean": float(np.mean(v)), "seeds": v, "ci95": _interval(v)} for key, v in cells.items()},
            "mean": float(np.mean(means)), "seeds": means, "ci95": _interval(means),
        }  # fmt: skip
    differences = {
        name: [a - b for a, b in zip(arms[more]["seeds"], arms[less]["seeds"], strict=True)]
        for name, (more, less) in DIFFERENCES.items()
    }
    spent = epsilon(
        [recipe.sft.mechanism.event()] * recipe.sft.rounds
        + [recipe.grpo.mechanism.event()] * recipe.grpo.rounds,
        DELTA,
    )
    return {
        "seeds": complete, "epsilon": spent, "delta": DELTA, "arms": arms,
        "differences": {
            name: {"mean": float(np.mean(v)), "seeds": v, "ci95": _interval(v)} for name, v in differences.items()
        },
    }  # fmt: skip


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
    gains = [
        f"| {name} | {found['mean']:+.3f} ({found['ci95'][0]:+.3f} to {found['ci95'][1]:+.3f}) | "
        + ", ".join(f"{v:+.3f}" for v in found["seeds"])
        + " |"
        for name, found in result["differences"].items()
    ]
    return (
        "# Results of the study\n\n"
        f"`make study`, seeds {seeds}; every private arm spends epsilon {result['epsilon']:.2f} at delta {result['delta']:g} "
        "a hospital, patient-level. Metrics: accuracy (classification, questions), AP50 (detection), Dice (segmentation), on "
        "public validation patients of all three sites. Intervals: Student's 95 % over seeds. Models that GRPO has trained "
        f"think first, all others answer directly, as they were trained; the last {len(OTHER_FORM)} lines show the other "
        "form. [study.md](study.md) says what to read from it.\n\n"
        + head
        + "\n".join(lines)
        + "\n\n| difference of means | over seeds | each seed |\n|---|---|---|\n"
        + "\n".join(gains)
        + "\n"
    )


def _begin(out: Path) -> None:
    """Takes up the study of the same base and recipe; of any other, what was found and encoded goes."""
    stamp = out / "stamp"
    wanted = json.dumps({"base": folder_hash(EMBEDDED), "recipe": asdict(STUDY)}, indent=1)
    if not stamp.exists() or stamp.read_text() != wanted:
        for stale in (*out.glob("*.json"), *out.glob(f"data/*/*/{ENCODED}")):
            stale.unlink()
        stamp.write_text(wanted)


def main() -> None:
    """Runs what is missing, two jobs at a time, then writes the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/study"))
    asked = parser.parse_args()
    console = Console()
    asked.out.mkdir(parents=True, exist_ok=True)
    _begin(asked.out)
    with Progress(console=console) as bar:
        working = bar.add_task("training runs", total=len(SEEDS) * len(RUNS))
        for seed in SEEDS:
            jobs = [Job(r, seed, asked.out) for r in RUNS]
            missing = [job for job in jobs if not job.file.exists()]
            bar.advance(working, len(jobs) - len(missing))
            if not missing:
                continue
            data = asked.out / "data" / str(seed)
            for cohort in cohorts(data, STUDY, seed):
                write_cohort(cohort, os.cpu_count() or 1, lambda done, of: None)
            with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
                labels = {s.name: experts_of(s) for s in SITES} | {"public": list(EXPERTS)}
                list(pool.map(encode, [data / name for name in labels], labels.values()))
                for future in as_completed([pool.submit(run, job) for job in missing]):
                    future.result()
                    bar.advance(working)
    result = summarise(asked.out, STUDY)
    (asked.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    text = table(result)
    Path("docs/results.md").write_text(text)
    console.print(text, soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()

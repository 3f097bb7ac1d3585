"""What trust buys: local, distributed and central noise at the same epsilon, with 3, 10 and 30 hospitals.  Resumable.

    make study-trust        # about an hour of two cores; goes on where it was stopped: build/trust/ holds what is done

The same patients of three sites are dealt to ever more hospitals, which train the study's SFT from the embedded base, all at
epsilon 8.  `demo/trust_arms.py` says what the modes are.  It writes docs/results-trust.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from client.model.base import Base
from demo.arms import fresh, pooled, start, train_stage
from demo.cohort import SITES
from demo.experiment import BASE, BASE_ARM
from demo.house import EMBEDDED
from demo.recipe import BUDGET, at_epsilon
from demo.small_study import SEED, STUDY_WORK, arm, hospitals_of, results_of, run_missing, write_scores
from demo.study import begin, prepare
from demo.study_table import Results
from demo.trust_arms import RECIPE, noise_for, train_distributed

WORK, PAGE = Path("build/trust"), Path("docs/results-trust.md")
PARTS = {3: (1, 1, 1), 10: (4, 3, 3), 30: (10, 10, 10)}  # hospitals of each site
PATIENTS = 1200  # of a site
LOCAL, DISTRIBUTED, CENTRAL = "local", "distributed", "central"


@dataclass(frozen=True)
class Training:
    """One arm. Central noise is the same however many hospitals there are: it is trained once."""

    mode: str
    hospitals: int

    @property
    def name(self) -> str:
        """Of its form."""
        return f"{self.mode} {self.hospitals}"

    @property
    def file(self) -> Path:
        """Its rows, once it is trained and scored."""
        return WORK / f"{self.name.replace(' ', '-')}.rows"


UNTRAINED = Training(BASE, 0)
CENTRALLY = Training(CENTRAL, 3)
TRAININGS = (CENTRALLY, *(Training(mode, count) for count in PARTS for mode in (LOCAL, DISTRIBUTED)))


def train(training: Training) -> None:
    """Trains the arm and scores it."""
    torch.set_num_threads(1)
    base = Base.load(EMBEDDED)
    experts = fresh(base, RECIPE)
    state = start(experts)
    if training.mode != BASE:
        hospitals = [
            hospital
            for site, parts in zip(SITES, PARTS[training.hospitals], strict=True)
            for hospital in hospitals_of(site.name, parts, PATIENTS, base)
        ]
        if training.mode == DISTRIBUTED:
            state = train_distributed(experts, hospitals, state, SEED)
        else:
            (stage,) = at_epsilon(RECIPE, BUDGET).stages
            by_whom = [pooled(hospitals)] if training.mode == CENTRAL else hospitals
            rewards = training.file.with_suffix(".rewards")
            shutil.rmtree(rewards, ignore_errors=True)
            rewards.mkdir()
            state = train_stage(experts, by_whom, state, stage, RECIPE, 1, SEED, rewards)
    write_scores(training.file, experts, state, scale_experts=training.mode != BASE)


def page(results: Results, coordinates: int) -> str:
    """docs/results-trust.md."""
    central = arm(CENTRALLY.name)

    def cell(training: Training) -> str:
        found = arm(training.name)
        _, low, high = results.difference(found, central)
        return f"{results.mean(found):.3f} ({low:+.3f} to {high:+.3f})"

    (stage,) = at_epsilon(RECIPE, BUDGET).stages
    expected = stage.mechanism.sampling_rate * PATIENTS * len(SITES)
    once = stage.mechanism.noise_multiplier * stage.mechanism.clip_norm / expected
    lines = []
    for count in PARTS:
        shared = noise_for(count, coordinates).std(count) / expected
        lines.append(
            f"| {count} | {cell(Training(LOCAL, count))} | {count**0.5:.1f} | {cell(Training(DISTRIBUTED, count))} | "
            f"{shared / once:.1f} |"
        )
    means = results.mean(central), results.mean(BASE_ARM)
    return f"""# Results by trust

`make study-trust`: the same {PATIENTS * len(SITES):,} patients of {len(SITES)} sites, dealt to 3, 10 and 30 hospitals, train the
study's SFT at epsilon {BUDGET:g} (`demo/trust_study.py`). Mean of the six rows over public patients; in brackets the 95 %
interval, over resampled ones, of the difference to central noise ({means[0]:.3f}); base {means[1]:.3f}. Noise: the deviation in a
step's mean over all patients, relative to central noise. Distributed noise is counted by Renyi divergence, and on t - 1 shares
([secagg.md](secagg.md)); its sums ran through the protocol, and its steps are the server's
own (`strategies/summed.py`).

| hospitals | local | noise | distributed | noise |
|---|---|---|---|---|
{chr(10).join(lines)}
"""


def main() -> None:
    """Trains and scores what is missing, an arm a core, then writes the page."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    begin(WORK, "*.rows")
    console = Console()
    with (
        Progress(console=console) as bar,
        ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool,
    ):
        prepare(STUDY_WORK, SEED, pool)
        run_missing(pool, bar, "trainings", train, (UNTRAINED, *TRAININGS))
    experts = fresh(Base.load(EMBEDDED), RECIPE)
    coordinates = sum(value.numel() for value in experts.trainable(RECIPE.stages[0].experts).values())
    results = results_of(UNTRAINED.file, {training.name: training.file for training in TRAININGS})
    text = page(results, coordinates)
    PAGE.write_text(text)
    console.print(text, soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    main()

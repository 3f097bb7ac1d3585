"""What hostile hospitals cost under each rule of aggregation.  About an hour of one core, resumable.

    make study-attacks        # goes on where it was stopped: build/attacks/ holds what is done

Ten hospitals, three of them hostile, train one round of SFT from the embedded base, under the noise that spends epsilon 8
over the study's rounds.  Each trains once, the hostile ones also on wrong answers; then for every attack and every rule
the ten changes are aggregated and the outcome answers the public patients.  It writes docs/results-attacks.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from client.model.base import Base
from client.model.experts import Experts
from demo import experiment
from demo.arms import State, fresh, plan_of, start
from demo.attacks import ATTACKS, hostile, mislabelled
from demo.experiment import BASE, BASE_ARM, Change, aggregate_all, changed, passes
from demo.house import EMBEDDED
from demo.recipe import BUDGET, STUDY, at_epsilon
from demo.small_study import SEED, STUDY_WORK, arm, hospitals_of, results_of, run_missing, write_scores
from demo.study import begin, prepare
from demo.study_table import Results
from privacy import tensors
from privacy.plan import Plan
from strategies.aggregate import MEAN, MEDIAN, MULTI_KRUM, NORM_BOUND, TRIMMED_MEAN, Recipe

WORK, PAGE = Path("build/attacks"), Path("docs/results-attacks.md")
PARTS = {"north": 4, "south": 3, "coast": 3}  # each site's patients are dealt to so many hospitals
HOSTILE = ("north-4", "south-3", "coast-3")
_LIMIT = 1 << 30
RATE = 0.11  # of a hospital's patients a step: as many as the demo's, twice the study's
RULES = {
    MEAN: Recipe(),
    NORM_BOUND: Recipe(NORM_BOUND),
    MEDIAN: Recipe(MEDIAN),
    TRIMMED_MEAN: Recipe(TRIMMED_MEAN, hostile=len(HOSTILE)),
    MULTI_KRUM: Recipe(MULTI_KRUM, hostile=len(HOSTILE)),
}
NONE = "nobody hostile"
ALONE = "the honest alone"


@dataclass(frozen=True)
class Training:
    """One hospital's round, and whether it is taught wrong answers."""

    hospital: str
    flipped: bool = False

    @property
    def file(self) -> Path:
        """Its changes."""
        return WORK / f"{self.hospital}{'-flipped' if self.flipped else ''}.changes"


@dataclass(frozen=True)
class Asked:
    """A model to score: what the round under an attack came to by a rule; or the base."""

    attack: str
    rule: str

    @property
    def name(self) -> str:
        """Of its file and of its form of answer."""
        return f"{self.attack}, {self.rule}"

    @property
    def file(self) -> Path:
        """Its rows, once it was scored."""
        return WORK / f"{self.name.replace(', ', '--').replace(' ', '-')}.rows"


TRAININGS = tuple(
    Training(f"{site}-{part}", flipped)
    for site, parts in PARTS.items()
    for part in range(1, parts + 1)
    for flipped in (False, True)
    if not flipped or f"{site}-{part}" in HOSTILE
)
MODELS = (
    Asked(BASE, MEAN),
    *(Asked(attack, rule) for attack in (NONE, ALONE, *ATTACKS) for rule in RULES),
)


def plan(experts: Experts) -> Plan:
    """The first round of SFT, under the noise that spends the whole budget over the study's rounds."""
    stage = at_epsilon(STUDY, BUDGET).stages[0]
    return plan_of(experts, replace(stage, mechanism=replace(stage.mechanism, sampling_rate=RATE)), STUDY, 1)


def train(training: Training) -> None:
    """One round at one hospital; its changes go to a file."""
    torch.set_num_threads(1)
    base = Base.load(EMBEDDED)
    site, number = training.hospital.split("-")
    hospital = hospitals_of(site, PARTS[site], STUDY.patients, base)[int(number) - 1]
    experts = fresh(base, STUDY)
    samples = [mislabelled(s) for s in hospital.samples] if training.flipped else hospital.samples
    found = experiment.train(
        experts, replace(hospital, samples=samples), start(experts), plan(experts), str(SEED)
    )
    values = {f"{name}//{key}": v for name, change in found.items() for key, v in change.tensors.items()}
    part = training.file.with_suffix(".part")
    part.write_bytes(tensors.encode(values))
    part.replace(training.file)


def changes(training: Training, asked: Plan) -> dict[str, Change]:
    """What the hospital's round changed, by expert."""
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, value in tensors.decode(training.file.read_bytes(), _LIMIT).items():
        expert, key = name.split("//")
        found.setdefault(expert, {})[key] = value
    patients = STUDY.patients // PARTS[training.hospital.split("-")[0]]
    return changed(training.hospital, found, asked, patients)


def sent(attack: str, asked: Plan) -> dict[str, list[Change]]:
    """What all hospitals send under the attack, by expert."""
    own = {t: changes(t, asked) for t in TRAININGS}
    honest = [own[t] for t in TRAININGS if t.hospital not in HOSTILE]
    bad = [own[Training(name)] for name in HOSTILE]
    found: dict[str, list[Change]] = {}
    for expert in asked.experts:
        good = [one[expert] for one in honest]
        if attack == NONE:
            theirs = [one[expert] for one in bad]
        elif attack == ALONE:
            theirs = []
        else:
            theirs = [
                hostile(attack, own[Training(n)][expert], own[Training(n, True)][expert], good, asked)
                for n in HOSTILE
            ]
        found[expert] = [*good, *theirs]
    return found


def score(model: Asked) -> None:
    """Aggregates and asks; the rows go to a file."""
    torch.set_num_threads(1)
    base = Base.load(EMBEDDED)
    experts = fresh(base, STUDY)
    state: State = start(experts)
    if model.attack != BASE:
        asked = plan(experts)
        state = aggregate_all(state, sent(model.attack, asked), RULES[model.rule], asked)
    write_scores(model.file, experts, state, scale_experts=model.attack != BASE)


def page(results: Results, refused: Mapping[Asked, str]) -> str:
    """docs/results-attacks.md."""
    best = arm(Asked(NONE, MEAN).name)
    gain = results.mean(best) - results.mean(BASE_ARM)

    def cell(model: Asked) -> str:
        found = arm(model.name)
        lost, low, high = results.difference(found, best)
        kept = 100 * (1 + lost / gain)
        return f"{results.mean(found):.3f} ({low:+.3f} to {high:+.3f}), {kept:.0f} %{refused.get(model, '')}"

    lines = [
        f"| {attack} | " + " | ".join(cell(Asked(attack, rule)) for rule in RULES) + " |"
        for attack in (NONE, ALONE, *ATTACKS)
    ]
    patients = len({p for of in results.found(SEED, BASE, "base direct").values() for p in of})
    head = "| | " + " | ".join(RULES) + " |\n|" + "---|" * (1 + len(RULES))
    return f"""# Results of attacks

`make study-attacks`: {sum(PARTS.values())} hospitals, {len(HOSTILE)} of them hostile, one round of SFT on the embedded base under
noise (`demo/attack_study.py`); `demo/attacks.py` says what each attack sends. A cell: the mean of the six rows over {patients}
public patients; in brackets the 95 % interval of its difference to the mean rule with nobody hostile, over resampled ones; and
what is kept of the {gain:.3f} by which that round gains on the base ({results.mean(BASE_ARM):.3f}). An asterisk: not all hostile
releases got through the door, which knows how long an honest change can be, and, under the bound on norms, how short.

{head}
{chr(10).join(lines)}

Multi-Krum told of f hostile ones needs 2 f + 3 hospitals, here {2 * len(HOSTILE) + 3}: of fewer it takes none, and the
experts stay what they were, as where the honest are alone. It drops what lies apart, and what noise hides it does not see:
hostile ones that agree on a small shift lie closer together than honest ones do, and it keeps them.
"""


def _refused(asked: Plan) -> dict[Asked, str]:
    """An asterisk for every attack and rule of which not all gets through the door."""
    found: dict[Asked, str] = {}
    for attack in ATTACKS:
        changed = [change for by_expert in sent(attack, asked).values() for change in by_expert]
        for rule, recipe in RULES.items():
            if not all(passes(change, recipe, asked) for change in changed):
                found[Asked(attack, rule)] = " *"
    return found


def main() -> None:
    """Trains and scores what is missing, a job a core, then writes the page."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    begin(WORK, "*.changes", "*.rows")
    console = Console()
    with (
        Progress(console=console) as bar,
        ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool,
    ):
        prepare(STUDY_WORK, SEED, pool)
        run_missing(pool, bar, "hospitals trained", train, TRAININGS)
        run_missing(pool, bar, "models scored", score, MODELS)
    results = results_of(MODELS[0].file, {model.name: model.file for model in MODELS[1:]})
    text = page(results, _refused(plan(fresh(Base.load(EMBEDDED), STUDY))))
    PAGE.write_text(text)
    console.print(text, soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    main()

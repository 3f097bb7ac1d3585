"""What the demo and the study train: cohort sizes, stages and mechanisms, in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from demo.cohort import SITES, Cohort
from privacy.experts import SCALE_EXPERTS, TASK_EXPERTS
from privacy.mechanism import Mechanism
from server.campaign import Stage

BUDGET = 8.0  # epsilon of each hospital's policy
DELTA = 1e-5


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    patients: int  # a hospital
    regions_a_patient: int
    public_patients: int  # of each site, in the validation set
    rank: int
    alpha: float
    seed: int
    sft: Stage
    grpo: Stage


DEMO = Recipe(
    patients=1200,
    regions_a_patient=4,
    public_patients=60,
    rank=2,
    alpha=8.0,
    seed=7,
    sft=Stage("sft", 2, SCALE_EXPERTS, 2.5e-2, Mechanism(0.5, 0.8, 0.11, 10, 6)),
    grpo=Stage(
        "grpo",
        2,
        TASK_EXPERTS,
        2e-2,
        Mechanism(0.02, 0.85, 0.25, 2, 4),
        rollouts=8,
        kl_beta=0.0,
        max_answer_tokens=64,
    ),
)

STUDY = replace(DEMO, public_patients=150)  # scores that differ by a hundredth can be told apart


def cohorts(folder: Path, recipe: Recipe, seed: int) -> list[Cohort]:
    """Each site's private cohort, and the public validation set of other patients of all sites."""
    private = [Cohort(folder / s.name, (s,), recipe.patients, recipe.regions_a_patient, seed) for s in SITES]
    return [
        *private,
        Cohort(folder / "public", SITES, recipe.public_patients, recipe.regions_a_patient, seed + 1000),
    ]

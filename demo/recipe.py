"""What the demo and the study train: cohort sizes, stages and mechanisms, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from demo.cohort import SITES, Cohort, Site
from privacy.accounting import epsilon
from privacy.experts import ROUTER, SCALE_EXPERTS, TASK_EXPERTS, ExpertForm, same_form
from privacy.mechanism import Event, Mechanism
from strategies.definition import Stage

BUDGET = 8.0  # epsilon of each hospital's policy
DELTA = 1e-5
ANSWER_TOKENS = 64  # of the longest answer, thought and tags included


# What task experts adapt. GRPO's signal lies in attention: of its coherent gradient, the three layers of the MLP hold a
# seventh, in seven tenths of the coordinates, each of which has its own noise.
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    patients: int  # a hospital
    regions_a_patient: int
    public_patients: int  # of each site, in the validation set
    rank: int
    alpha: float
    task_layers: tuple[str, ...]
    seed: int
    stages: tuple[Stage, ...]

    @property
    def rounds(self) -> tuple[Stage, ...]:
        """The stage of each round, in order."""
        return tuple(stage for stage in self.stages for _ in range(stage.rounds))

    @property
    def forms(self) -> dict[str, ExpertForm]:
        """Each LoRA expert's form: scale experts adapt all layers, task experts `task_layers`."""
        return same_form(SCALE_EXPERTS, self.rank, self.alpha) | {
            name: ExpertForm(self.rank, self.alpha, self.task_layers) for name in TASK_EXPERTS
        }


DEMO = Recipe(
    patients=1200,
    regions_a_patient=4,
    public_patients=60,
    rank=2,
    alpha=8.0,
    task_layers=ATTENTION,
    seed=7,
    stages=(
        Stage(
            "sft",
            2,
            (*SCALE_EXPERTS, ROUTER),
            2.5e-2,
            Mechanism(0.5, 0.8, 0.11, 10, 6),
            max_answer_tokens=ANSWER_TOKENS,
        ),
        Stage(
            "grpo",
            2,
            TASK_EXPERTS,
            1e-2,
            Mechanism(0.02, 0.85, 0.25, 2, 4),
            rollouts=8,
            kl_beta=0.0,
            max_answer_tokens=ANSWER_TOKENS,
        ),
    ),
)


def _study() -> Recipe:
    """Twice as many patients a hospital, as many of them a step, and ten steps of GRPO: what the demo has no time for. So
    many public patients that scores which differ by a hundredth can be told apart.
    """
    sft, grpo = DEMO.stages
    return replace(
        DEMO,
        patients=2 * DEMO.patients,
        public_patients=400,
        stages=(
            replace(sft, mechanism=replace(sft.mechanism, sampling_rate=sft.mechanism.sampling_rate / 2)),
            replace(
                grpo,
                rounds=5,
                mechanism=replace(grpo.mechanism, sampling_rate=grpo.mechanism.sampling_rate / 2),
            ),
        ),
    )


STUDY = _study()


def cohorts(folder: Path, recipe: Recipe, seed: int, sites: Sequence[Site] = SITES) -> list[Cohort]:
    """Each site's private cohort, and the public validation set of other patients of all kinds."""
    private = [Cohort(folder / s.name, (s,), recipe.patients, recipe.regions_a_patient, seed) for s in sites]
    return [
        *private,
        Cohort(folder / "public", SITES, recipe.public_patients, recipe.regions_a_patient, seed + 1000),
    ]


def events(recipe: Recipe) -> list[Event]:
    """What a hospital spends in the whole run."""
    return [stage.mechanism.event() for stage in recipe.rounds]


def with_noise(recipe: Recipe, factor: float) -> Recipe:
    """The same run under `factor` times its noise; 0 leaves the clip alone, which is no privacy at all."""
    return replace(
        recipe,
        stages=tuple(
            replace(
                stage,
                mechanism=replace(
                    stage.mechanism, noise_multiplier=factor * stage.mechanism.noise_multiplier
                ),
            )
            for stage in recipe.stages
        ),
    )


@cache
def at_epsilon(recipe: Recipe, target: float) -> Recipe:
    """The same run under noise that spends the target at DELTA or a little less: one factor for all stages."""
    low, high = 0.25, 16.0
    while high / low > 1.005:
        middle = (low * high) ** 0.5
        enough = epsilon(events(with_noise(recipe, middle)), DELTA) <= target
        low, high = (low, middle) if enough else (middle, high)
    return with_noise(recipe, high)


def sft_alone(recipe: Recipe) -> Recipe:
    """The same run without GRPO."""
    return replace(recipe, stages=tuple(stage for stage in recipe.stages if stage.kind == "sft"))

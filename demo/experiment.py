"""Experiments on rounds in one process, in four steps; studies and the notebook are made of them.

    cohort --deal--> hospitals --train--> changes --aggregate_all--> state --ask--> rows of scores --results--> intervals

Training, noise, clip and aggregation are the real ones (`client.training.round`, `privacy`, `strategies`). What a federation
adds is left out: the network, signatures, ledgers, and the rounding of a release to int8.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.evaluation.answers import Asking
from client.model.experts import Experts
from client.training.round import train_round
from demo.arms import Hospital, State, answers, load
from demo.recipe import ANSWER_TOKENS
from demo.study_runs import scored
from demo.study_table import Arm, Results
from privacy.plan import Plan
from privacy.randomness import SeededRandom
from strategies.aggregate import NORM_BOUND, Recipe, aggregate
from strategies.bounds import norm_bound
from strategies.gathered import gather
from strategies.noise import least_norm

Tensors = Mapping[str, NDArray[np.float32]]
Rows = list[dict[str, Any]]  # of scores, by scale and task: `demo.study_runs.scored`

BASE = "base"
BASE_ARM = Arm((BASE,), "base direct")


@dataclass(frozen=True)
class Change:
    """A hospital's change of one expert in memory (`strategies.gathered.Contribution`)."""

    hospital: str
    expert: str
    tensors: Tensors
    noise_variance: float

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of its tensors."""
        return {name: value.shape for name, value in self.tensors.items()}

    @property
    def norm(self) -> float:
        """L2, over all its tensors."""
        return math.sqrt(sum(float(np.square(v, dtype=np.float64).sum()) for v in self.tensors.values()))

    def rows(self, tensor: str, start: int, stop: int) -> NDArray[np.float32]:
        """Rows of a tensor, flat."""
        return self.tensors[tensor][start:stop].reshape(-1)


def deal(whole: Hospital, parts: int, patients: int) -> list[Hospital]:
    """The hospitals "<name>-1", "<name>-2", ...: the first `patients` patients of one, dealt in turn."""
    everyone = sorted({s.patient for s in whole.samples})[:patients]
    dealt = [set(everyone[part::parts]) for part in range(parts)]
    return [
        replace(
            whole,
            name=f"{whole.name}-{number}",
            samples=[s for s in whole.samples if s.patient in mine],
            nominal_patients=patients // parts,
        )
        for number, mine in enumerate(dealt, start=1)
    ]


def train(experts: Experts, hospital: Hospital, state: State, plan: Plan, seed: str) -> dict[str, Change]:
    """The hospital's round from `state`, by the plan's mechanism: what it would send, by expert.

    Draws and noise come from `seed` and the hospital's name, so a release made of this could not be sealed.
    """
    load(experts, state)
    found = train_round(
        experts,
        plan.restricted(hospital.experts),
        hospital.samples,
        hospital.inputs,
        plan,
        hospital.nominal_patients,
        SeededRandom(f"{seed}/{hospital.name}"),
        lambda done, of: None,
        tasks=hospital.tasks,
    )
    tensors = {name: delta.tensors for name, delta in found.items()}
    return changed(hospital.name, tensors, plan, hospital.nominal_patients)


def changed(
    hospital: str, tensors: Mapping[str, Tensors], plan: Plan, nominal_patients: int
) -> dict[str, Change]:
    """The changes of a hospital with so many patients, with the variance of the noise in a step's mean."""
    mechanism = plan.mechanism
    deviation = (
        mechanism.noise_multiplier * mechanism.clip_norm / (mechanism.sampling_rate * nominal_patients)
    )
    return {expert: Change(hospital, expert, values, deviation**2) for expert, values in tensors.items()}


def passes(change: Change, recipe: Recipe, plan: Plan) -> bool:
    """Whether its length is one that a round with this recipe takes (`strategies.intake`)."""
    size = sum(value.size for value in change.tensors.values())
    least = least_norm(plan, size) if recipe.rule == NORM_BOUND else 0.0
    return least <= change.norm <= norm_bound(plan, change.shapes)


def after(start: Tensors, sent: Sequence[Change], recipe: Recipe, plan: Plan) -> Tensors:
    """The expert after a round of what was sent."""
    taken = [change for change in sent if passes(change, recipe, plan)]
    return aggregate(gather(sent[0].expert, start, taken), recipe, plan).state


def by_expert(sent: Iterable[Mapping[str, Change]]) -> dict[str, list[Change]]:
    """What hospitals sent, by expert: not every hospital has labels for each."""
    found: dict[str, list[Change]] = {}
    for changes in sent:
        for expert, change in changes.items():
            found.setdefault(expert, []).append(change)
    return found


def aggregate_all(state: State, sent: Mapping[str, Sequence[Change]], recipe: Recipe, plan: Plan) -> State:
    """Every expert after a round of what was sent of it; one that nobody trained stays as it was."""
    return state | {name: dict(after(state[name], changes, recipe, plan)) for name, changes in sent.items()}


def ask(experts: Experts, state: State, public: Hospital, *, scale_experts: bool = True) -> Rows:
    """What public patients' questions, asked directly, score under `state`; without `scale_experts` the base answers."""
    load(experts, state)
    asking = Asking("direct", ANSWER_TOKENS, scale_experts=scale_experts, task_experts=False)
    return scored(answers(experts, public, asking))


def results(base: Rows, runs: Mapping[str, Mapping[str, Rows]], seed: int = 0) -> Results:
    """Scores of the base and of each run's arms, all of the same public patients, whose resampling is seeded.

    `arm` names a run's arm, or the mean over several runs; means, and differences with their intervals, are `Results`'.
    """
    found = {(seed, BASE): {"forms": {BASE_ARM.form: base}}}
    return Results(found | {(seed, run): {"forms": dict(forms)} for run, forms in runs.items()})


def arm(name: str, *runs: str) -> Arm:
    """The arm of that name in `results`, as a mean over the runs."""
    return Arm(runs, name)

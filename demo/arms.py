"""Training arms without a network: the very steps that agent and server take, in one process, for what-if studies.

An arm is a list of hospitals, a recipe, and whether there is noise.  What differs from the real federation is the
transport and, where it is not asked for, the rounding of a release to int8: the same `train_round` at each hospital, an
equal mean per expert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.evaluation.answers import Asking, answer
from client.evaluation.scores import Answered
from client.model.base import Base
from client.model.experts import Experts, attach
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.model.visual import Visual
from client.reward_curve import RewardCurve
from client.slides.index import index_slides
from client.tasks.manifest import read_manifest
from client.tasks.sample import Region, Sample
from client.training.batch import LoadInputs
from client.training.round import clipped_sum, stage_gradients, train_round
from demo.cohort import MANIFEST
from demo.recipe import Recipe
from privacy.experts import EXPERTS, TASKS
from privacy.plan import Plan
from privacy.quantise import dequantise, quantise
from privacy.randomness import SeededRandom
from strategies.definition import Stage

Encoded = dict[tuple[str, Region | None], Visual]
State = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Hospital:
    """A hospital's data in memory: its samples, how their inputs are read, the experts that it may train."""

    name: str
    samples: Sequence[Sample]
    inputs: LoadInputs
    experts: tuple[str, ...]
    nominal_patients: int

    @property
    def tasks(self) -> tuple[str, ...]:
        """Those whose experts it may train, as a policy's."""
        return tuple(task for task in TASKS if f"task/{task}" in self.experts)


def open_hospital(folder: Path, base: Base, experts: Sequence[str], nominal_patients: int) -> Hospital:
    """Reads a cohort folder as an agent does."""
    index = index_slides(folder / "slides", folder / "catalogue.db")
    manifest = read_manifest(folder / MANIFEST, index)
    loader = InputLoader(index.slides, SlideFeatures(base, folder / "features"))
    return Hospital(folder.name, manifest.samples, loader, tuple(experts), nominal_patients)


def encoded(hospital: Hospital) -> Encoded:
    """Every input of the hospital's samples, read and encoded once."""
    where = list(dict.fromkeys((sample.slide, sample.region) for sample in hospital.samples))
    first = {(sample.slide, sample.region): sample for sample in reversed(hospital.samples)}
    return dict(zip(where, hospital.inputs([first[at] for at in where]), strict=True))


def with_inputs(hospital: Hospital, held: Encoded) -> Hospital:
    """The hospital with its inputs at hand."""
    return replace(hospital, inputs=lambda samples: [held[sample.slide, sample.region] for sample in samples])


def pooled(hospitals: Sequence[Hospital]) -> Hospital:
    """All patients as if they were one hospital's."""
    owner = {sample.slide: hospital for hospital in hospitals for sample in hospital.samples}

    def load(samples: Sequence[Sample]) -> list[Visual]:
        visuals: dict[int, Visual] = {}
        for hospital in hospitals:
            own = [i for i, sample in enumerate(samples) if owner[sample.slide] is hospital]
            visuals |= zip(own, hospital.inputs([samples[i] for i in own]), strict=True)
        return [visuals[i] for i in range(len(samples))]

    return Hospital(
        "pooled",
        [sample for hospital in hospitals for sample in hospital.samples],
        load,
        tuple(sorted({expert for hospital in hospitals for expert in hospital.experts})),
        sum(hospital.nominal_patients for hospital in hospitals),
    )


def start(experts: Experts) -> State:
    """The public start of every expert."""
    return {name: experts.initial(name) for name in experts.names}


def train_stage(
    experts: Experts,
    hospitals: Sequence[Hospital],
    state: State,
    stage: Stage,
    recipe: Recipe,
    first_round: int,
    seed: int,
    rewards: Path,
    *,
    rounded: bool = False,
) -> State:
    """Runs a stage's rounds: each hospital trains from the same state, then each expert is averaged.

    Each hospital's rewards are written to `rewards`/<hospital>.jsonl. `rounded`: changes are averaged as they would be read
    from releases, in levels of int8.
    """
    for number in range(first_round, first_round + stage.rounds):
        plan = plan_of(experts, stage, recipe, number)
        deltas: dict[str, list[Mapping[str, np.ndarray]]] = {}
        for hospital in hospitals:
            load(experts, state)
            random = SeededRandom(f"{seed}/{number}/{hospital.name}")
            curve = RewardCurve(rewards / f"{hospital.name}.jsonl", plan.campaign, number)

            def tell(step: int, of: int, curve: RewardCurve = curve) -> None:
                curve.step(step)

            gradients = partial(stage_gradients, rewarded=curve.rewarded)
            found = train_round(
                experts, plan.restricted(hospital.experts), hospital.samples, hospital.inputs, plan,
                hospital.nominal_patients, random, tell, step_sum=partial(clipped_sum, gradients=gradients),
                tasks=hospital.tasks,
            )  # fmt: skip
            for name, delta in found.items():
                sent = _as_released(delta.tensors, f"{seed}/{number}/{hospital.name}/{name}")
                deltas.setdefault(name, []).append(sent if rounded else delta.tensors)
        state = {
            name: {
                key: value + np.mean([d[key] for d in deltas[name]], axis=0) if name in deltas else value
                for key, value in tensors.items()
            }
            for name, tensors in state.items()
        }
    return state


def _as_released(change: Mapping[str, NDArray[np.float32]], nonce: str) -> dict[str, NDArray[np.float32]]:
    return {name: dequantise(*quantise(value, f"{nonce}/{name}")) for name, value in change.items()}


def plan_of(experts: Experts, stage: Stage, recipe: Recipe, number: int) -> Plan:
    """The plan that the server would send for this round."""
    return Plan(
        campaign="study", round=number, stage=stage.kind, experts=tuple(sorted(stage.experts)), mechanism=stage.mechanism,
        learning_rate=stage.learning_rate, base_hash=experts.base.hash, experts_hash=dict.fromkeys(EXPERTS, "0" * 64),
        forms=recipe.forms, expert_seed=recipe.seed, rollouts=stage.rollouts,
        kl_beta=stage.kl_beta, max_answer_tokens=stage.max_answer_tokens,
    )  # fmt: skip


def answers(experts: Experts, public: Hospital, asking: Asking) -> list[Answered]:
    """The answers to the public validation set."""
    return list(zip(answer(experts, public.samples, public.inputs, asking), public.samples, strict=True))


def load(experts: Experts, state: State) -> None:
    """Sets every expert."""
    for name, tensors in state.items():
        experts.load(name, tensors)


def fresh(base: Base, recipe: Recipe) -> Experts:
    """All experts, attached as the recipe says."""
    return attach(base, recipe.forms, recipe.seed)

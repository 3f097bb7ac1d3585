"""A round of private training at one hospital: S noised steps from the experts as sent, to one delta an
expert.

After each step the caller may keep the descent's state, and hand it in again where the process died: the round goes
on with the next step, under the same reservation (`privacy.checkpoint` says why that costs nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from client.model.experts import Experts
from client.tasks.sample import Sample
from client.training import grpo, sft
from client.training.batch import LoadInputs, Performance
from privacy.clip import Clipped, add, clip_and_sum
from privacy.descent import ExpertDelta, PrivateDescent, StepState
from privacy.noise import add_noise
from privacy.plan import Plan
from privacy.randomness import RandomSource
from privacy.sampling import draw_patients, draw_samples

Progress = Callable[[int, int], None]
Keep = Callable[[StepState], None]
SharedSum = Callable[
    [
        Experts,
        Mapping[str, Tensor],
        Sequence[Sequence[Sample]],
        Sequence[int],
        Plan,
        LoadInputs,
        Performance,
    ],
    Clipped,
]
SEEDS_BELOW = 2**53
DEFAULT = Performance()


class PatientGradients(Protocol):
    """What gives each drawn patient's gradient, [P, ...] a parameter: `stage_gradients`, or an audit's stand-in.

    Row p must depend on patient p alone; clipping is none of its business.
    """

    def __call__(
        self,
        experts: Experts,
        parameters: Mapping[str, Tensor],
        drawn: Sequence[Sequence[Sample]],
        seeds: Sequence[int],
        plan: Plan,
        load_inputs: LoadInputs,
        performance: Performance,
    ) -> dict[str, Tensor]:
        """drawn[p] are patient p's samples, at least one, and seeds[p] that patient's randomness."""
        ...


def stage_gradients(
    experts: Experts,
    parameters: Mapping[str, Tensor],
    drawn: Sequence[Sequence[Sample]],
    seeds: Sequence[int],
    plan: Plan,
    load_inputs: LoadInputs,
    performance: Performance,
    rewarded: grpo.Rewarded = lambda task, rewards: None,
) -> dict[str, Tensor]:
    """Each patient's gradient of the loss of the plan's stage; `rewarded` as `grpo.gradients` tells it."""
    if plan.stage == "sft":
        return sft.gradients(experts, parameters, drawn, seeds, load_inputs, performance)
    settings = grpo.Settings(plan.rollouts, plan.kl_beta, plan.max_answer_tokens)
    return grpo.gradients(experts, parameters, drawn, seeds, settings, load_inputs, performance, rewarded)


def train_round(
    experts: Experts,
    trained: Sequence[str],
    samples: Sequence[Sample],
    load_inputs: LoadInputs,
    plan: Plan,
    nominal_patients: int,
    random: RandomSource,
    progress: Progress,
    performance: Performance = DEFAULT,
    gradients: PatientGradients = stage_gradients,
    resume: StepState | None = None,
    keep: Keep = lambda state: None,
    shared_sum: SharedSum | None = None,
) -> dict[str, ExpertDelta]:
    """Train the `trained` experts (those of the plan that the hospital allows) by the plan's mechanism, from the
    weights that they hold.

    Exactly `plan.mechanism.steps` steps are taken, an empty draw's too; each divides by the public
    `sampling_rate * nominal_patients`. Samples that train none of the experts are left out. `progress(step,
    of)` is told of each step's end, after `keep` had the state; `resume` is such a state of this very round, whose
    steps are not taken again. `shared_sum` (`distributed.Team.clipped_sum`) takes the stage's gradients in several
    processes, in place of `gradients` in this one. Afterwards the experts hold the trained weights.
    """
    mechanism = plan.mechanism
    by_patient = _by_patient(samples, set(trained))
    patients = sorted(by_patient)
    parameters = experts.trainable(trained)
    descent = _descent(parameters, plan, resume)
    experts.write(descent.parameters)
    for step in range(descent.steps_taken, mechanism.steps):
        drawn = [
            [
                by_patient[patient][i]
                for i in draw_samples(len(by_patient[patient]), mechanism.samples_per_patient, random)
            ]
            for patient in draw_patients(patients, mechanism.sampling_rate, random)
        ]
        seeds = random.integers(len(drawn), SEEDS_BELOW).tolist()
        if shared_sum is None:
            clipped = clipped_sum(
                experts, parameters, drawn, seeds, plan, load_inputs, performance, gradients
            )
        else:
            clipped = shared_sum(experts, parameters, drawn, seeds, plan, load_inputs, performance)
        descent.step(add_noise(clipped, mechanism, mechanism.sampling_rate * nominal_patients, random))
        experts.write(descent.parameters)
        keep(descent.state())
        progress(step + 1, mechanism.steps)
    return descent.deltas()


def _descent(start: Mapping[str, Tensor], plan: Plan, resume: StepState | None) -> PrivateDescent:
    if resume is None:
        return PrivateDescent(start, plan.learning_rate)
    return PrivateDescent.resumed(start, plan.learning_rate, resume)


def clipped_sum(
    experts: Experts,
    parameters: Mapping[str, Tensor],
    drawn: Sequence[Sequence[Sample]],
    seeds: Sequence[int],
    plan: Plan,
    load_inputs: LoadInputs,
    performance: Performance,
    gradients: PatientGradients = stage_gradients,
) -> Clipped:
    """The sum over the drawn patients of each one's gradient, clipped to the plan's norm over all
    parameters together.

    drawn[p] are patient p's samples and seeds[p] that patient's randomness. Adding or removing one patient
    moves the sum by at most the clip norm.
    """
    clip_norm = plan.mechanism.clip_norm
    total = clip_and_sum(
        {key: torch.zeros((0, *p.shape), device=p.device) for key, p in parameters.items()}, clip_norm
    )
    for start in range(0, len(drawn), performance.patients):
        chunk = slice(start, start + performance.patients)
        given = gradients(experts, parameters, drawn[chunk], seeds[chunk], plan, load_inputs, performance)
        total = add(total, clip_and_sum(given, clip_norm))
    return total


def _by_patient(samples: Sequence[Sample], trained: set[str]) -> dict[str, list[Sample]]:
    """Each patient's samples that train one of these experts; their scale expert in SFT, their task expert
    in GRPO.
    """
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        if {f"scale/{sample.scale}", f"task/{sample.task}"} & trained:
            grouped.setdefault(sample.patient, []).append(sample)
    return grouped

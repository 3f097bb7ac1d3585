"""Whom a round draws from: the patients with a question that trains what the plan asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from client.model.experts import Experts
from client.tasks.sample import Sample
from client.training import rollout
from client.training.batch import LoadInputs, Performance, by_kind
from client.training.draw import Draw
from client.training.rollout import Sampler
from privacy.plan import Plan
from privacy.randomness import RandomSource
from privacy.sampling import draw_patients, draw_samples

PROMPT_TOKENS = 256  # of a question, its instructions and the template about it, without the image
_SEEDS_BELOW = 2**53


@dataclass(frozen=True)
class Cohort:
    """`samples` of each patient who has any, and `nobody`: a draw without a patient, with all that gradients are taken with.
    Made by `cohort_of`.
    """

    samples: Mapping[str, Sequence[Sample]]
    nobody: Draw

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """`expert::tensor` -> the live parameter, of all that trains."""
        return self.nobody.parameters

    def draw(self, random: RandomSource) -> Draw:
        """One step's draw: each patient with the plan's sampling rate, then each one's samples, then each one's seed."""
        mechanism = self.nobody.plan.mechanism
        drawn = [
            [
                self.samples[patient][i]
                for i in draw_samples(len(self.samples[patient]), mechanism.samples_per_patient, random)
            ]
            for patient in draw_patients(sorted(self.samples), mechanism.sampling_rate, random)
        ]
        seeds = random.integers(len(drawn), _SEEDS_BELOW).tolist()
        return replace(self.nobody, samples=drawn, seeds=seeds)


def cohort_of(
    experts: Experts,
    trained: Sequence[str],
    samples: Sequence[Sample],
    load_inputs: LoadInputs,
    plan: Plan,
    performance: Performance,
    max_rank: int | None = None,
    *,
    tasks: Collection[str],
    sampler: Sampler = rollout.sample,
) -> Cohort:
    """The patients of the samples that train any of the `trained` experts, and are not too long; `max_rank` columns at most
    of each B train (None: all); `tasks` are those of the policy; `sampler` is of rollouts.
    """
    fit = (sample for sample in samples if trains(sample, trained) and not too_long(experts, sample, plan))
    of_patients = by_kind(fit, lambda sample: sample.patient)
    nobody = Draw(
        experts=experts,
        parameters=experts.trainable(trained, max_rank),
        samples=[],
        seeds=[],
        plan=plan,
        tasks=tasks,
        load_inputs=load_inputs,
        performance=performance,
        sampler=sampler,
    )
    return Cohort(of_patients, nobody)


def trains(sample: Sample, trained: Collection[str]) -> bool:
    """Whether a sample trains one of these experts: its scale expert in SFT, its task expert in GRPO."""
    return f"scale/{sample.scale}" in trained or f"task/{sample.task}" in trained


def too_long(experts: Experts, sample: Sample, plan: Plan) -> bool:
    """Whether a sample's question, in either form, or the answer that SFT learns is longer than the round's bounds."""
    prompt, answer = experts.lengths(sample)
    return prompt > PROMPT_TOKENS or (plan.stage == "sft" and answer > plan.longest_answer)

"""Canary patients in a throw-away copy of a whole training: what could be told from what leaves?

Each canary takes part with chance 1/2. After one training somebody who knows the canaries, and sees the released
changes, guesses which took part; `privacy.audit_bounds` says what epsilon that proves at the least. Two kinds:

- `gradient`: a canary's gradient is one coordinate of its own, as long as the clip allows: the worst patient
  there can be for this mechanism, and no model is needed to see it.
- `patient`: a canary is one of the cohort's questions with a wrong answer: what memorising gives away.

Real gradients, sampling, clipping, noise and descent are the hospital's own code; nothing is written or sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.errors import ClientError
from client.model.experts import Experts
from client.model.forward import answer_logprobs, read
from client.selftest.plans import ADAM_CONSTANT, Gauge
from client.tasks.prompt import direct
from client.tasks.sample import Sample
from client.training.batch import LoadInputs, items, micro_batches
from client.training.draw import Draw, PatientGradients
from client.training.round import clipped_sum, stage_gradients, train_round
from privacy import accounting
from privacy.audit_bounds import Guesses, guess, one_run_bound, one_run_gaussian_bound
from privacy.experts import SCALE_EXPERTS
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.randomness import RandomSource

Kind = Literal["gradient", "patient"]
KINDS: tuple[Kind, ...] = ("gradient", "patient")
CONFIDENCE = 0.95
SHARE = 0.1  # of the canaries that a guess is made about, fixed before any score is seen
_PREFIX = "canary/"
_LONG = 1e6  # a gradient far beyond any clip norm
_LOSS_ROWS = 32


class CanaryError(ClientError):
    """A training that can't hold the canaries that were asked for; the message says what to change."""


@dataclass(frozen=True)
class Report:
    """What one audited training showed, at `confidence`.

    Each bound is a lower one; beside it the most that it could have shown, had every guess been right. A claim
    above that can't be refuted by so few canaries, whatever the code does.
    """

    kind: Kind
    canaries: int
    guesses: int
    correct: int
    rounds: int
    delta: float
    confidence: float
    epsilon_claimed: float
    lower_bound: float
    lower_bound_at_most: float
    lower_bound_gaussian: float
    lower_bound_gaussian_at_most: float

    @property
    def refuted(self) -> bool:
        """Whether a lower bound lies above the claim."""
        return max(self.lower_bound, self.lower_bound_gaussian) > self.epsilon_claimed


class Canaries(Protocol):
    """One kind of canary: what takes part in training, and how to tell afterwards."""

    samples: Sequence[Sample]  # one a canary

    @property
    def gradients(self) -> PatientGradients:
        """What training takes for each patient's gradient."""
        ...

    def scores(self, before: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """One a canary, the higher the likelier that it took part; `before` is what training started from."""
        ...


def audit(
    experts: Experts,
    samples: Sequence[Sample],
    inputs: LoadInputs,
    plan: Plan,
    rounds: int,
    nominal_patients: int,
    canaries: Canaries,
    kind: Kind,
    delta: float,
    random: RandomSource,
    tell: Callable[[int, int], None],
) -> Report:
    """Train `rounds` rounds of `plan` on `samples` and on those canaries that a coin chooses; guess; bound.

    The experts are trained from where they stand, and left trained. `tell(round, of)` is told of each round's
    end. Raises `CanaryError` where a patient of the cohort has a canary's name.
    """
    if any(sample.patient.startswith(_PREFIX) for sample in samples):
        raise CanaryError(
            f"a patient's key begins with {_PREFIX!r}: canaries do; rename that patient in a copy"
        )
    included = random.uniform(len(canaries.samples)) < 0.5
    present = [sample for sample, chosen in zip(canaries.samples, included, strict=True) if chosen]
    before = {key: value.detach().clone() for key, value in experts.trainable(plan.experts).items()}
    for number in range(1, rounds + 1):
        train_round(
            experts,
            plan.experts,
            [*samples, *present],
            inputs,
            replace(plan, round=number),
            nominal_patients,
            random,
            lambda done, of: None,
            step_sum=partial(clipped_sum, gradients=canaries.gradients),
        )
        tell(number, rounds)
    guesses = guess(canaries.scores(before), included, SHARE)
    perfect = Guesses(guesses.canaries, guesses.made, guesses.made)
    return Report(
        kind=kind,
        canaries=guesses.canaries,
        guesses=guesses.made,
        correct=guesses.correct,
        rounds=rounds,
        delta=delta,
        confidence=CONFIDENCE,
        epsilon_claimed=accounting.epsilon([plan.event()] * rounds, delta),
        lower_bound=one_run_bound(guesses, delta, CONFIDENCE),
        lower_bound_at_most=one_run_bound(perfect, delta, CONFIDENCE),
        lower_bound_gaussian=one_run_gaussian_bound(guesses, delta, CONFIDENCE),
        lower_bound_gaussian_at_most=one_run_gaussian_bound(perfect, delta, CONFIDENCE),
    )


class GradientCanaries:
    """Each canary pulls at one coordinate of its own, up or down, as hard as the clip lets it."""

    def __init__(
        self, experts: Experts, trained: Sequence[str], template: Sample, count: int, random: RandomSource
    ) -> None:
        self._experts, self._trained = experts, tuple(trained)
        sizes = [parameter.numel() for parameter in experts.trainable(trained).values()]
        if count > sum(sizes):
            raise CanaryError(
                f"{count} canaries need as many coordinates, but {sum(sizes)} are trained: ask for fewer"
            )
        self._coordinates = np.argsort(random.uniform(sum(sizes)), kind="stable")[:count]
        self._signs = np.where(random.uniform(count) < 0.5, -1.0, 1.0)
        self.samples: Sequence[Sample] = [replace(template, patient=f"{_PREFIX}{i}") for i in range(count)]
        self._index = {sample.patient: i for i, sample in enumerate(self.samples)}

    @property
    def gradients(self) -> PatientGradients:
        """The stage's own for real patients, one coordinate for each canary."""
        return self._gradients

    def scores(self, before: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """How far the canary's coordinate went down the canary's gradient."""
        now = self._experts.trainable(self._trained)
        moved = torch.cat([(before[key] - now[key].detach()).flatten().double().cpu() for key in sorted(now)])
        along: NDArray[np.float64] = moved.numpy()[self._coordinates] * self._signs
        return along

    def _gradients(self, draw: Draw) -> dict[str, Tensor]:
        canary = [self._index.get(samples[0].patient) for samples in draw.samples]
        real = [row for row, index in enumerate(canary) if index is None]
        rows = {
            key: torch.zeros((len(draw), *p.shape), device=p.device) for key, p in draw.parameters.items()
        }
        if real:
            theirs = replace(
                draw, samples=[draw.samples[row] for row in real], seeds=[draw.seeds[row] for row in real]
            )
            for key, value in stage_gradients(theirs).items():
                rows[key][real] = value
        for row, index in enumerate(canary):
            if index is not None:
                self._pull(rows, row, int(self._coordinates[index]), _LONG * float(self._signs[index]))
        return rows

    def _pull(self, rows: Mapping[str, Tensor], row: int, coordinate: int, force: float) -> None:
        for key in sorted(rows):
            size = rows[key][row].numel()
            if coordinate < size:
                rows[key][row].view(-1)[coordinate] = force
                return
            coordinate -= size


class PatientCanaries:
    """Each canary asks one of the cohort's questions, and gives the answer of another sample that differs."""

    def __init__(
        self,
        experts: Experts,
        samples: Sequence[Sample],
        inputs: LoadInputs,
        count: int,
        random: RandomSource,
    ) -> None:
        wrong = _mislabelled(samples, random)
        if count > len(wrong):
            raise CanaryError(
                f"{count} canaries need as many questions that another answer of their task would mislabel, but "
                f"the cohort has {len(wrong)}: ask for fewer"
            )
        self._experts, self._inputs = experts, inputs
        self.samples: Sequence[Sample] = [
            replace(sample, patient=f"{_PREFIX}{i}") for i, sample in enumerate(wrong[:count])
        ]

    @property
    def gradients(self) -> PatientGradients:
        """The stage's own: these canaries are patients like any other."""
        return stage_gradients

    def scores(self, before: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """How much likelier training made the canary's wrong answer."""
        after = {
            key: value.detach().clone()
            for key, value in self._experts.trainable({key.split("::")[0] for key in before}).items()
        }
        likelihood = self._loglikelihoods()
        self._experts.write(before)
        likelihood -= self._loglikelihoods()
        self._experts.write(after)
        return likelihood

    @torch.no_grad()
    def _loglikelihoods(self) -> NDArray[np.float64]:
        experts = self._experts
        found = np.zeros(len(self.samples))
        numbered = list(enumerate(self.samples))
        for batch in micro_batches(numbered, lambda s: s[1].scale, lambda s: len(s[1].question), _LOSS_ROWS):
            asked = [sample for _, sample in batch]
            rows = items([[sample] for sample in asked], self._inputs, experts.prompts, direct)
            answers = [experts.prompts.answer(experts.prompts.true_answer(s)) for s in asked]
            with experts.only(asked[0].scale, None):
                logprobs, real = answer_logprobs(experts, read(experts, [row.query for row in rows]), answers)
            mean = (logprobs.sum(1) / real.sum(1)).double().cpu().numpy()
            found[[index for index, _ in batch]] = mean
        return found


def linear(mechanism: Mechanism, step: float) -> tuple[float, int]:
    """Learning rate and public number of patients under which Adam takes `step` for a pull of one clip norm.

    For gradient canaries: Adam's own division would blow up the least of real gradients to the size of a
    canary's pull. A public number so large that it divides by its constant 1e-8 alone leaves sums as they are
    (client.selftest.plans); the guarantee does not depend on it.
    """
    nominal_patients = Gauge(mechanism).nominal_patients
    moved = mechanism.clip_norm / (mechanism.sampling_rate * nominal_patients) / ADAM_CONSTANT
    return step / moved, nominal_patients


def trained_experts(samples: Sequence[Sample]) -> tuple[str, ...]:
    """The scale experts that these samples train."""
    scales = {f"scale/{sample.scale}" for sample in samples}
    return tuple(name for name in SCALE_EXPERTS if name in scales)


def _mislabelled(samples: Sequence[Sample], random: RandomSource) -> list[Sample]:
    """Every sample that another one's answer of the same kind would mislabel, so mislabelled, shuffled."""
    kinds: dict[tuple[str, str, tuple[str, ...]], list[Sample]] = {}
    for sample in samples:
        kinds.setdefault((sample.scale, sample.task, sample.choices), []).append(sample)
    wrong = []
    for alike in kinds.values():
        for sample in alike:
            others = [other.answer for other in alike if other.answer != sample.answer]
            if others:
                other = others[int(random.integers(1, len(others))[0])]
                wrong.append(replace(sample, answer=other))
    return [wrong[i] for i in np.argsort(random.uniform(len(wrong)), kind="stable")]

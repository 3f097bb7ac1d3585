"""The training loop over a thousand made-up patients: are they drawn as charged for, and do the steps add up?

No model is asked. The loop is the installed one; what it trains is a single tensor with a place for each patient,
and a stand-in for the gradients lets each patient pull at its own place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.model.experts import Experts
from client.selftest.patients import short
from client.selftest.plans import ADAM_CONSTANT, LEARNING_RATE, plan, weights
from client.tasks.sample import Sample
from client.training.draw import Draw
from client.training.round import clipped_sum, train_round
from privacy.mechanism import Mechanism
from privacy.randomness import SecureRandom
from privacy.selftest.sampling import draw_findings, step_findings
from privacy.selftest.verdict import Check, Finding

PATIENTS, SLIDES, STEPS = 1000, 3, 100
RATE, AT_MOST = 0.3, 2  # AT_MOST of a patient's samples
ADDED = 3  # steps of the round whose change is read
NOMINAL = 10  # the public number: far fewer than there are
CLIP_NORM = 1e-12  # so small a mean that Adam divides by its constant alone (client.selftest.plans)
EXPERT, TENSOR = "scale/roi", "patients"
WHERE = f"{PATIENTS} patients, {STEPS} steps at rate {RATE}"


@dataclass
class Places:
    """Stands in for `Experts` in the training loop: one tensor, zero, with a place for each patient."""

    def trainable(self, names: Sequence[str], max_rank: int | None = None) -> dict[str, Tensor]:
        """See `Experts.trainable`."""
        return {f"{name}::{TENSOR}": torch.zeros(PATIENTS) for name in names}

    def lengths(self, sample: Sample) -> tuple[int, int]:
        """See `Experts.lengths`: no question here is long."""
        return 1, 1

    def write(self, parameters: Mapping[str, Tensor]) -> None:
        """See `Experts.write`; nothing here reads the weights."""


@dataclass
class Watch:
    """Gives the gradients of a round, and writes down who took part in which step, and what was wrong with it."""

    steps: int
    step: int = 0
    wrong: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.drawn: NDArray[np.bool_] = np.zeros((self.steps, PATIENTS), bool)

    def told(self, done: int, of: int) -> None:
        """A step's end."""
        self.step = done

    def __call__(self, draw: Draw) -> dict[str, Tensor]:
        """Each drawn patient pulls at its own place (`client.training.draw.PatientGradients`)."""
        pulls = torch.zeros(len(draw), PATIENTS)
        for row, samples in enumerate(draw.samples):
            if len({sample.patient for sample in samples}) != 1:
                self.wrong.add("samples of several patients, or of none, stand in one patient's place")
                continue
            if len(samples) > AT_MOST or len({sample.slide for sample in samples}) < len(samples):
                self.wrong.add(f"a patient gave more than {AT_MOST} samples, or one of them twice")
            place = int(samples[0].patient)
            if self.drawn[self.step, place]:
                self.wrong.add("a patient took part twice in one step")
            self.drawn[self.step, place] = True
            pulls[row, place] = 1.0
        return dict.fromkeys(draw.parameters, pulls)


def findings(base_hash: str, tell: Callable[[str], None]) -> list[Finding]:
    """Run the loop twice, over many steps and over few, and judge the draws and the change."""
    tell("sampling")
    many, _ = _round(base_hash, STEPS)
    few, change = _round(base_hash, ADDED)
    found = [Finding(Check.SAMPLING, WHERE, what) for what in sorted(many.wrong | few.wrong)]
    found += draw_findings(many.drawn, RATE, WHERE)
    unit = LEARNING_RATE / ADAM_CONSTANT * CLIP_NORM / (RATE * NOMINAL)
    where = f"a round of {ADDED} steps without noise"
    return found + step_findings(few.drawn, weights(ADDED), change, unit, where)


def _round(base_hash: str, steps: int) -> tuple[Watch, NDArray[np.float32]]:
    """One round without noise: who took part, and how far each patient's place moved."""
    (one,) = short("nobody")
    samples = [
        Sample(str(patient), f"{patient}-{slide}.svs", one.region, one.task, one.question, one.answer)
        for patient in range(PATIENTS)
        for slide in range(SLIDES)
    ]
    watch = Watch(steps)
    deltas = train_round(
        cast("Experts", Places()),
        [EXPERT],
        samples,
        lambda samples: [],
        plan(base_hash, "sft", Mechanism(CLIP_NORM, 0.0, RATE, steps, AT_MOST), experts=[EXPERT]),
        NOMINAL,
        SecureRandom(),
        watch.told,
        step_sum=partial(clipped_sum, gradients=watch),
    )
    return watch, deltas[EXPERT].tensors[TENSOR]

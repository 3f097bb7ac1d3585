"""Plans whose releases can be read like a gauge: Adam's step, far below its own tiny constant, is linear.

Adam divides by sqrt(v) + 1e-8. A public number of patients so large that every noised mean lies near 1e-12 makes
that a division by 1e-8, so a round's change is a known sum of its steps' noised means, to 1 part in 10,000.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.experts import EXPERTS, TRAINED_IN, same_form
from privacy.mechanism import Mechanism
from privacy.plan import Plan

# What `privacy.descent` is documented to do; stated again here, so that a slip there shows.
_BETA1, ADAM_CONSTANT = 0.9, 1e-8
_MEAN = 1e-12  # a noised mean's size
LEARNING_RATE = 1e3

RANK, ALPHA, SEED = 4, 8.0, 0
SAMPLES = 8  # of a patient, at most
_GRPO = {"rollouts": 2, "kl_beta": 0.05, "max_answer_tokens": 4}


@dataclass(frozen=True)
class Gauge:
    """A mechanism, and the public number of patients that makes its rounds linear; `unit` and what follows from
    it hold at sampling rate 1.
    """

    mechanism: Mechanism

    @property
    def nominal_patients(self) -> int:
        """The policy's public constant."""
        step = max(1.0, self.mechanism.noise_multiplier) * self.mechanism.clip_norm
        return math.ceil(step / _MEAN)

    def unit(self) -> float:
        """How far a round moves the weights if one step's sum is moved by 1 (one-step rounds)."""
        return LEARNING_RATE / ADAM_CONSTANT / self.nominal_patients

    def noise(self) -> float:
        """The standard deviation that the round's noise must have in each released value."""
        mechanism = self.mechanism
        step = mechanism.noise_multiplier * mechanism.clip_norm * self.unit()
        return step * math.sqrt(sum(weight**2 for weight in weights(mechanism.steps)))

    def standardised(self, release: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
        """Released tensors in units of the noise that they must hold."""
        return {name: value.astype(np.float64) / self.noise() for name, value in release.items()}


def gauge(clip_norm: float, noise_multiplier: float, steps: int = 1) -> Gauge:
    """A gauge of rounds in which every patient takes part."""
    return Gauge(Mechanism(clip_norm, noise_multiplier, 1.0, steps, SAMPLES))


def plan(
    base_hash: str,
    stage: str,
    mechanism: Mechanism,
    *,
    number: int = 1,
    experts: Sequence[str] | None = None,
    hashes: Mapping[str, str] | None = None,
) -> Plan:
    """A plan of the self-test; without `hashes`, for code that is called directly and loads nothing."""
    return Plan(
        campaign="selftest",
        round=number,
        stage=stage,
        experts=tuple(sorted(experts or TRAINED_IN[stage])),
        mechanism=mechanism,
        learning_rate=LEARNING_RATE,
        base_hash=base_hash,
        experts_hash=hashes or dict.fromkeys(EXPERTS, "0" * 64),
        forms=same_form(hashes or EXPERTS, RANK, ALPHA),
        expert_seed=SEED,
        **(_GRPO if stage == "grpo" else {}),  # type: ignore[arg-type]  # ints and a float, each as its field
    )


def weights(steps: int) -> list[float]:
    """How much each step's noised mean counts in the round's change, by Adam's bias-corrected first moment."""
    return [
        sum((1 - _BETA1) * _BETA1 ** (s - t) / (1 - _BETA1**s) for s in range(t, steps + 1))
        for t in range(1, steps + 1)
    ]

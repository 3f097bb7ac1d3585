"""The bound on an honest delta: never below what Adam can do, and not far above it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from privacy.clip import clip_and_sum
from privacy.descent import PrivateDescent
from privacy.noise import add_noise
from privacy.quantise import dequantise, quantise
from privacy.randomness import SeededRandom
from strategies.bounds import norm_bound
from tests.privacy_cases import PLAN


@pytest.mark.parametrize("steps", [1, 3, 12])
@pytest.mark.parametrize("shape", ["constant", "growing", "last", "noise"])
def test_no_gradients_move_an_expert_beyond_the_bound(steps: int, shape: str) -> None:
    """Catches a bound that refuses an honest hospital: the worst sequences that Adam knows stay within it."""
    plan = replace(PLAN, mechanism=replace(PLAN.mechanism, steps=steps), learning_rate=0.01)
    start = {"scale/roi::w": torch.zeros(40, 50)}
    descent, random = PrivateDescent(start, plan.learning_rate), SeededRandom(1)
    quiet = replace(plan.mechanism, noise_multiplier=1e-9)
    for step in range(steps):
        sizes = {
            "constant": 1.0,
            "growing": 10.0 ** (step - steps),
            "last": float(step == steps - 1),
            "noise": 0.0,
        }
        gradients = {"scale/roi::w": torch.full((1, 40, 50), sizes[shape] / 50)}
        clipped = clip_and_sum(gradients, plan.mechanism.clip_norm)
        descent.step(add_noise(clipped, plan.mechanism if shape == "noise" else quiet, 10.0, random))
    norm = float(np.linalg.norm(descent.deltas()["scale/roi"].tensors["w"]))
    bound = norm_bound(plan, {"w": (40, 50)})
    assert norm <= bound
    if shape == "constant":
        assert bound < 4 * norm, "a bound this loose would let anything pass"


def test_the_bound_is_attained_in_the_first_step() -> None:
    """Catches a bound that lets a hostile hospital move an expert further than an honest one can: one Adam step
    moves every coordinate by the learning rate, and the bound says no more than that.
    """
    plan = replace(PLAN, mechanism=replace(PLAN.mechanism, steps=1), learning_rate=0.01)
    assert norm_bound(plan, {"w": (40, 50)}) == pytest.approx(0.01 * np.sqrt(2000), rel=2e-4)


def test_a_sealed_delta_is_no_longer_than_the_bound() -> None:
    """Catches rounding that lengthens an honest delta beyond the bound: the extreme one, all at full reach."""
    plan = replace(PLAN, mechanism=replace(PLAN.mechanism, steps=1), learning_rate=0.01)
    signs = np.where(np.random.default_rng(0).random((40, 50)) < 0.5, -1.0, 1.0)
    for seed in range(20):
        sent = dequantise(*quantise((0.01 * signs).astype(np.float32), str(seed)))
        assert np.linalg.norm(sent) <= norm_bound(plan, {"w": (40, 50)})

"""The bound on an honest delta: never below what Adam can do, and not far above it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from privacy.clip import clip_and_sum
from privacy.descent import PrivateDescent
from privacy.noise import add_noise
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
        assert bound < 8 * norm, "a bound this loose would let anything pass"

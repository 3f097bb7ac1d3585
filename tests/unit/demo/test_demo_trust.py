"""The study of trust modes: its distributed arm is the real protocol, at the epsilon that it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.model.base import Base
from demo import trust_arms
from demo.arms import Hospital, fresh, start
from demo.recipe import BUDGET, DELTA
from demo.trust_arms import RECIPE, noise_for, sum_of, train_distributed
from privacy.plan import Plan
from privacy.randomness import SecureRandom
from privacy.secagg.accounting import epsilon
from privacy.secagg.grid import Words, to_real
from privacy.secagg.shared_noise import Share, add_share
from tests.model_cases import SFT, Inputs, plan, samples_of

SIZE = 500


@pytest.mark.parametrize("hospitals", [3, 10, 30])
def test_every_number_of_hospitals_spends_the_same(hospitals: int) -> None:
    """Catches a mode that is compared with more epsilon than the others have, or wastes some of its own."""
    (stage,) = RECIPE.stages
    noise, rate = noise_for(hospitals, SIZE), stage.mechanism.sampling_rate
    spent = epsilon(noise, rate, stage.rounds * stage.mechanism.steps, DELTA)
    assert 0.98 * BUDGET <= spent <= BUDGET
    assert noise.honest < hospitals


def test_the_protocols_sum_is_the_sum_of_the_shares(tiny_base: Path) -> None:
    """Catches masks that are left on, a hospital that is left out, and a sum in other units."""
    noise, random = noise_for(4, SIZE), np.random.default_rng(1)
    shares = {f"h{i}": add_share(random.normal(size=SIZE), noise, SecureRandom()) for i in range(4)}
    asked = plan("0" * 64, "sft", RECIPE.stages[0].mechanism, SFT)
    found = to_real(sum_of(shares, asked), noise.grid)
    assert np.array_equal(found, noise.grid.step * sum(share.whole for share in shares.values()))


def test_distributed_training_takes_the_servers_steps_down_the_mean_gradient(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches steps up the gradient, parts of the vector that come back as other tensors, experts left as they were, a hospital
    that goes on from the start, and an Adam that forgets: with hardly any noise its first step moves every value against
    its own sum's sign by the learning rate, and the second as moments of both gradients say.
    """
    (stage,) = RECIPE.stages
    mechanism = replace(stage.mechanism, sampling_rate=1.0, steps=2, noise_multiplier=0.01)
    recipe = replace(RECIPE, stages=(replace(stage, rounds=1, mechanism=mechanism),))
    monkeypatch.setattr(trust_arms, "RECIPE", recipe)
    monkeypatch.setattr(
        trust_arms,
        "noise_for",
        lambda hospitals, size: replace(noise_for(hospitals, size, 1e9), sigma=1),
    )
    experts = fresh(Base.load(tiny_base), recipe)
    inputs = Inputs(experts.base)
    hospitals = [
        Hospital(name, samples_of(patient), inputs, experts.names, 1)
        for name, patient in (("a", "p1"), ("b", "p2"), ("c", "p3"))
    ]
    seen: list[np.ndarray] = []
    real = trust_arms.sum_of

    def watched(shares: Mapping[str, Share], asked: Plan) -> Words:
        words = real(shares, asked)
        seen.append(to_real(words, next(iter(shares.values())).noise.grid) / 3)
        return words

    monkeypatch.setattr(trust_arms, "sum_of", watched)
    before = start(experts)
    after = train_distributed(experts, hospitals, before, 1)
    trained = sorted(stage.experts)
    moved = np.concatenate(
        [(after[e][k] - before[e][k]).reshape(-1) for e in trained for k in sorted(after[e])]
    )
    first, second = seen
    assert not np.array_equal(first, second)
    mean = (0.1 * second + 0.09 * first) / (1 - 0.9**2)
    power = (0.001 * second**2 + 0.000999 * first**2) / (1 - 0.999**2)
    wanted = -stage.learning_rate * (np.sign(first) + mean / np.sqrt(power))
    clear = np.minimum(np.abs(first), np.abs(second)) > 1e-3 * np.abs(first).max()
    assert clear.sum() > 100
    assert np.allclose(moved[clear], wanted[clear], rtol=1e-2, atol=1e-2 * stage.learning_rate)

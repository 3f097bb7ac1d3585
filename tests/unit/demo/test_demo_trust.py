"""The study of trust modes: its distributed arm is the real protocol, at the epsilon that it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.model.base import Base
from demo import trust_arms
from demo.arms import Hospital, fresh
from demo.recipe import BUDGET, DELTA
from demo.trust_arms import RECIPE, noise_for, sum_of, train_distributed
from privacy.randomness import SecureRandom
from privacy.secagg.accounting import epsilon
from privacy.secagg.shared_noise import add_share
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
    found = sum_of(shares, asked, 3)
    assert np.array_equal(found, noise.grid.step * sum(share.whole for share in shares.values()))


def test_distributed_training_goes_down_the_mean_gradient(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches steps up the gradient, parts of the vector that come back as other tensors, and experts left as they were:
    with hardly any noise, Adam's first step moves every value against its own sum's sign.
    """
    (stage,) = RECIPE.stages
    mechanism = replace(stage.mechanism, sampling_rate=1.0, steps=1, noise_multiplier=0.01)
    recipe = replace(RECIPE, stages=(replace(stage, rounds=1, mechanism=mechanism),))
    monkeypatch.setattr(trust_arms, "RECIPE", recipe)
    monkeypatch.setattr(trust_arms, "BUDGET", 1e6)
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

    def watched(*args: object) -> np.ndarray:
        seen.append(real(*args))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(trust_arms, "sum_of", watched)
    before = {k: v.detach().clone() for k, v in experts.trainable(stage.experts).items()}
    train_distributed(experts, hospitals, 1)
    after = experts.trainable(stage.experts)
    (total,) = seen
    moved = np.concatenate([(after[k] - before[k]).detach().numpy().reshape(-1) for k in sorted(after)])
    clear = np.abs(total) > 1e-3 * np.abs(total).max()
    assert clear.sum() > 100
    assert np.allclose(moved[clear], -stage.learning_rate * np.sign(total[clear]), rtol=1e-2)

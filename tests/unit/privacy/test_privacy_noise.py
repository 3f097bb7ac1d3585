"""The noise has the strength that was charged for, in every tensor, every time; only it leads to a delta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from privacy.clip import clip_and_sum
from privacy.delta import ExpertDelta
from privacy.descent import PrivateDescent
from privacy.errors import MechanismError
from privacy.mechanism import Mechanism
from privacy.noise import Noised, add_noise
from privacy.randomness import RandomSource, SecureRandom, SeededRandom
from tests.privacy_cases import MECHANISM

EXPECTED = 40.0
STRONG = Mechanism(clip_norm=0.5, noise_multiplier=1.3, sampling_rate=0.1, steps=1, samples_per_patient=1)
NAMES = ("scale/roi::a", "scale/wsi::b")


def noise_only(count: int, mechanism: Mechanism = STRONG) -> Noised:
    empty = {name: torch.zeros(0, count) for name in NAMES}
    return add_noise(clip_and_sum(empty, mechanism.clip_norm), mechanism, EXPECTED, SecureRandom())


def accepts(values: torch.Tensor, std: float) -> bool:
    """Two-sided chi-square test that values have mean 0 and this standard deviation.

    Level 1e-6.  With 400 values it rejects a standard deviation of 2/3 or 3/2 of the truth with
    probability over 0.9999.
    """
    statistic = float((values.double() / std).square().sum())
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], df=values.numel())
    return bool(low < statistic < high)


def test_every_tensor_is_noised_with_sigma_c_over_the_public_number() -> None:
    """Catches noise on some tensors only, noise scaled by another constant, and a std stated wrongly."""
    noised = noise_only(400)
    std = 1.3 * 0.5 / EXPECTED
    assert noised.noise_std == pytest.approx(std)
    for name in NAMES:
        assert accepts(noised.mean[name], std)


@pytest.mark.parametrize("wrong", [2 / 3, 3 / 2])
def test_the_chi_square_test_has_the_power_that_it_states(wrong: float) -> None:
    """Were the noise 2/3 or 3/2 of what it should be, the test above would fail; shown, and computed."""
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], df=400)
    missed = stats.chi2.cdf(high / wrong**2, df=400) - stats.chi2.cdf(low / wrong**2, df=400)
    assert missed < 1e-4
    assert not accepts(
        noise_only(400, replace(STRONG, noise_multiplier=1.3 * wrong)).mean[NAMES[0]], 1.3 * 0.5 / EXPECTED
    )


def pooled_accepts(noised: Noised, std: float) -> bool:
    return accepts(torch.cat([value.ravel() for value in noised.mean.values()]), std)


def test_noise_is_within_a_twentieth_of_what_was_promised() -> None:
    """Catches noise 5 % too weak or too strong: the chi-square test over 40,000 values together misses it with a
    chance under 1e-12 (level 1e-6).
    """
    std = 1.3 * 0.5 / EXPECTED
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], df=40_000)
    for wrong in (0.95, 1.05):
        missed = stats.chi2.cdf(high / wrong**2, df=40_000) - stats.chi2.cdf(low / wrong**2, df=40_000)
        assert missed < 1e-12
        off = noise_only(20_000, replace(STRONG, noise_multiplier=1.3 * wrong))
        assert not pooled_accepts(off, std)
    assert pooled_accepts(noise_only(20_000), std)


def test_noise_is_gaussian_and_never_repeats() -> None:
    """Catches a fixed seed, one draw used for two tensors or steps, a wrong shape (Kolmogorov-Smirnov)."""
    draws = [
        noise_only(20_000).mean[name].numpy() / (1.3 * 0.5 / EXPECTED) for _ in range(2) for name in NAMES
    ]
    for draw in draws:
        assert stats.kstest(draw, "norm").pvalue > 1e-6
    correlation = np.corrcoef(draws) - np.eye(4)
    assert np.abs(correlation).max() < 6 / np.sqrt(20_000)


def test_the_sum_stands_under_the_noise_and_is_divided_by_the_public_number() -> None:
    """Catches dividing by the realised count: three patients, expected forty."""
    gradients = {"scale/roi::a": torch.full((3, 4), 0.1)}
    quiet = replace(STRONG, noise_multiplier=0.0)
    mean = add_noise(clip_and_sum(gradients, 0.5), quiet, EXPECTED, SecureRandom()).mean["scale/roi::a"]
    torch.testing.assert_close(mean, torch.full((4,), 0.3 / EXPECTED))


def test_noise_calibrated_to_another_clip_norm_is_refused() -> None:
    """Catches a sensitivity that is not the one charged for."""
    clipped = clip_and_sum({"scale/roi::a": torch.ones(2, 3)}, 1.0)
    with pytest.raises(MechanismError, match="clipped to"):
        add_noise(clipped, STRONG, EXPECTED, SecureRandom())


@pytest.mark.parametrize("expected", [0.0, -1.0, float("inf"), float("nan")])
def test_a_senseless_public_number_is_refused(expected: float) -> None:
    """Catches a division that would make the noise vanish or the mean NaN."""
    with pytest.raises(MechanismError, match="expected_patients"):
        add_noise(clip_and_sum({"a": torch.ones(2, 3)}, 0.5), STRONG, expected, SecureRandom())


def noised(gradients: dict[str, torch.Tensor], sigma: float, random: RandomSource) -> Noised:
    """One step with clip norm 1 and a public number of 40."""
    mechanism = replace(STRONG, clip_norm=1.0, noise_multiplier=sigma)
    return add_noise(clip_and_sum(gradients, 1.0), mechanism, EXPECTED, random)


@pytest.mark.parametrize("patients", [0, 1, 3], ids=["empty-draw", "one-patient", "three"])
@pytest.mark.parametrize("shape", [(0,), (), (1,), (5, 3)], ids=["no-elements", "scalar", "one", "matrix"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_draw_and_form_gets_the_same_noise(
    patients: int, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Catches, for each row of add_noise's table, noise that depends on the draw, on the number of patients or
    on the gradients' dtype: from one seed it is the very same, in every coordinate.
    """
    gradients = {"a": torch.ones((patients, *shape), dtype=dtype)}
    with_noise = noised(gradients, 2.0, SeededRandom(1)).mean["a"]
    bare = noised(gradients, 0.0, SeededRandom(1)).mean["a"]
    empty = noised({"a": torch.zeros((0, *shape))}, 2.0, SeededRandom(1)).mean["a"]
    assert with_noise.dtype == torch.float32
    assert with_noise.shape == shape
    assert bool((empty != 0).all())
    torch.testing.assert_close(with_noise - bare, empty, rtol=1e-5, atol=1e-7)


def test_no_noise_is_said_to_be_none() -> None:
    """Catches a bare mean that claims some noise."""
    bare = noised({"a": torch.full((2, 4), 0.1)}, 0.0, SecureRandom())
    assert bare.noise_std == 0.0
    torch.testing.assert_close(bare.mean["a"], torch.full((4,), 0.2 / EXPECTED))


def test_a_mean_beyond_float32_is_infinite_and_stops_there() -> None:
    """Catches a rounding that would hide a diverged coordinate: one infinite mean makes that coordinate NaN."""
    mechanism = replace(STRONG, clip_norm=1e80)
    mean = add_noise(clip_and_sum({NAMES[0]: torch.zeros(0, 6)}, 1e80), mechanism, 1.0, SecureRandom())
    assert bool(mean.mean[NAMES[0]].isinf().all())
    descent = PrivateDescent({NAMES[0]: torch.zeros(6)}, 0.01)
    descent.step(mean)
    assert np.isnan(descent.deltas()["scale/roi"].tensors["a"]).all()


def test_noise_from_a_seed_is_never_forgotten() -> None:
    """Catches a delta that passes for secure after one seeded step among secure ones, in either order."""
    for sources in ((SeededRandom(0), SecureRandom()), (SecureRandom(), SeededRandom(0))):
        descent = PrivateDescent({NAMES[0]: torch.zeros(6)}, 0.01)
        for random in sources:
            empty = clip_and_sum({NAMES[0]: torch.zeros(0, 6)}, 0.5)
            descent.step(add_noise(empty, replace(STRONG, steps=2), EXPECTED, random))
        assert not descent.deltas()["scale/roi"].secure


def test_nobody_else_makes_a_noised_or_a_delta() -> None:
    """Catches raw gradients or raw weights handed on as if they were hidden."""
    with pytest.raises(MechanismError, match="add_noise"):
        Noised({"a": torch.ones(3)}, 1.0, MECHANISM, True, made_by=None)
    with pytest.raises(MechanismError, match="PrivateDescent"):
        ExpertDelta("scale/roi", {"a": np.ones(3, np.float32)}, 1.0, MECHANISM, 1, True, made_by=None)


def test_descent_is_adam() -> None:
    """Catches a slip in moments or bias correction: equal to torch.optim.Adam on the same gradients."""
    mechanism = replace(STRONG, steps=5)
    start = {name: torch.randn(6, generator=torch.Generator().manual_seed(3)) for name in NAMES}
    descent, random = PrivateDescent(start, 0.01), SeededRandom(4)
    mirror = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimiser = torch.optim.Adam(mirror.values(), lr=0.01)
    for _ in range(5):
        noised = add_noise(
            clip_and_sum({n: torch.ones(2, 6) for n in NAMES}, 0.5), mechanism, EXPECTED, random
        )
        descent.step(noised)
        for name, value in mirror.items():
            value.grad = noised.mean[name].clone()
        optimiser.step()
    for name in NAMES:
        torch.testing.assert_close(descent.parameters[name], mirror[name].detach(), rtol=1e-5, atol=1e-7)


def test_deltas_are_split_by_expert_and_say_what_they_cost() -> None:
    """Catches a delta filed under another expert, or one that forgets its mechanism."""
    start = {name: torch.full((6,), 2.0) for name in NAMES}
    descent = PrivateDescent(start, 0.01)
    descent.step(noise_only(6))
    found = descent.deltas()
    assert {expert: set(delta.tensors) for expert, delta in found.items()} == {
        "scale/roi": {"a"},
        "scale/wsi": {"b"},
    }
    assert all((delta.mechanism, delta.steps) == (STRONG, 1) for delta in found.values())
    np.testing.assert_array_equal(found["scale/roi"].tensors["a"], descent.parameters[NAMES[0]].numpy() - 2.0)
    assert torch.equal(start[NAMES[0]], torch.full((6,), 2.0))


Spoil = Callable[[PrivateDescent], object]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda descent: descent.deltas(), "no step"),
        (lambda descent: descent.step(noise_only(5)), "other parameters"),
        (lambda descent: [descent.step(noise_only(6)) for _ in range(2)], "all 1 steps"),
        (
            lambda descent: [
                descent.step(noise_only(6, replace(STRONG, steps=2, noise_multiplier=s))) for s in (1.0, 0.1)
            ],
            "mechanism changed",
        ),
    ],
    ids=["nothing-trained", "other-shapes", "a-step-too-many", "less-noise-midway"],
)
def test_a_round_that_was_not_paid_for_is_refused(spoil: Spoil, message: str) -> None:
    """Catches a round of more steps, or of less noise, than its one mechanism charges for."""
    with pytest.raises(MechanismError, match=message):
        spoil(PrivateDescent({name: torch.zeros(6) for name in NAMES}, 0.01))


@pytest.mark.parametrize("name", ["a", "scale/roi", "scale/roi::", "scale/mri::a"])
def test_a_parameter_of_no_expert_is_refused(name: str) -> None:
    """Catches weights that would leave under no expert's name."""
    with pytest.raises(MechanismError, match="is not named"):
        PrivateDescent({name: torch.zeros(2)}, 0.01)

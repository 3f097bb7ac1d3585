"""Rounding to int8 is unbiased, public and tight: the table of `privacy.quantise.quantise`, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from privacy.quantise import dequantise, quantise


def rounded(value: NDArray[np.float32], seed: str = "s") -> NDArray[np.float32]:
    return dequantise(*quantise(value, seed))


def test_the_mean_over_seeds_is_the_value() -> None:
    """Catches rounding to nearest, which loses for good whatever is under half a level.

    400 seeds, level 1e-6 a value: rounding to nearest is rejected for each value here, as is a bias of a
    tenth of a level.
    """
    value = np.array([1.0, 0.3 / 127, -0.4 / 127, 17.3 / 127, -88.35 / 127], np.float32)
    draws = np.stack([rounded(value, str(seed)) for seed in range(400)]).astype(np.float64)
    bound = -stats.norm.ppf(1e-6) * 0.5 / np.sqrt(400)  # a level's rounding has a deviation of at most 1/2

    def worst(found: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(found - value) * 127

    assert (worst(draws.mean(0)) < bound).all()
    assert (worst(np.rint(value * 127.0) / 127)[1:] > bound).all()


class Fixed:
    """A source that gives these draws over and over."""

    def __init__(self, *draws: int) -> None:
        self._draws = np.array(draws, np.uint16)

    def shorts(self, count: int) -> NDArray[np.uint16]:
        return np.resize(self._draws, count)


def test_the_mean_over_all_draws_is_the_value_to_a_65536th_of_a_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catches draws in too few bits, and sums that lose what they carry near the top level."""
    monkeypatch.setattr("privacy.quantise.SeededRandom", lambda seed: Fixed(*range(1 << 16)))
    each = np.array([127.0, 126.9999, 100.3, -99.7, -1e-4, 1e-4, 0.5, 0.0], np.float32)
    levels, scales = quantise(np.repeat(each, 1 << 16), "s")
    mean = levels.reshape(len(each), -1).mean(axis=1, dtype=np.float64)
    exact = each.astype(np.float64) / scales[0].astype(np.float64)
    assert (np.abs(mean - exact) <= 2.0**-16).all()


@pytest.mark.parametrize("draw", [0, 0xFFFF])
@pytest.mark.parametrize("shape", [(999,), (640, 16), (16, 640), (333, 3)])
def test_the_extreme_draws_stay_within_the_levels(
    monkeypatch: pytest.MonkeyPatch, draw: int, shape: tuple[int, ...]
) -> None:
    """Catches a largest value that the largest draw lifts to 128, which wraps to -128, a zero that moves, and a value that
    goes further than to its neighbour.
    """
    monkeypatch.setattr("privacy.quantise.SeededRandom", lambda seed: Fixed(draw))
    for power in (-140, -30, 0, 30, 120):
        value = np.random.default_rng(power + 200).normal(size=shape)
        value = np.ldexp(np.round(value, 2), power).astype(np.float32)
        levels, scales = quantise(value, "s")
        assert levels.min() >= -127
        assert (np.abs(levels * scales.astype(np.float64) - value) <= scales).all()
        assert not levels[value == 0].any()


def test_the_rounding_is_the_seeds_and_nothing_elses() -> None:
    """Catches secret randomness in what anyone must be able to recompute, and one draw for every release."""
    value = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_array_equal(rounded(value, "a"), rounded(value, "a"))
    assert not np.array_equal(rounded(value, "a"), rounded(value, "b"))


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0), (), (5,), (2, 3, 4), (4, 9), (9, 4)])
def test_a_slice_of_zeros_or_an_empty_one_stays_so(shape: tuple[int, ...]) -> None:
    """Catches 0/0, and an axis without elements."""
    levels, scales = quantise(np.zeros(shape, np.float32), "s")
    assert levels.shape == shape
    assert not levels.any()
    assert not scales.any()


def test_a_zero_among_others_stays_zero() -> None:
    """Catches parameters that never trained and drift by rounding alone."""
    value = np.array([[0.0, 5.0], [0.0, 1e-3], [3.0, 0.0]], np.float32)
    for seed in range(50):
        assert (rounded(value, str(seed))[value == 0] == 0).all()


def test_the_largest_keeps_its_place_at_the_top() -> None:
    """Catches a scale rounded down, with which the largest value would be 128 and wrap to -128."""
    for seed in range(300):
        most = np.float32(np.random.default_rng(seed).uniform(0.5, 2.0))
        levels, _ = quantise(np.array([most, -most], np.float32), str(seed))
        assert levels[0] >= 126
        assert levels[1] <= -126


@pytest.mark.parametrize("tiny", [1e-45, 1e-43, 1e-40, 1.2e-38])
def test_subnormal_values_have_a_scale(tiny: float) -> None:
    """Catches a scale that underflows to zero and takes the values with it."""
    levels, scales = quantise(np.array([tiny, -tiny], np.float32), "s")
    assert scales[0] > 0
    assert levels.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_hostile_scale_gives_no_warning_and_no_number(bad: float) -> None:
    """Catches a warning, which tests and servers may turn into an error, where a refusal should come."""
    values = dequantise(np.ones((2, 2), np.int8), np.full((2, 1), bad, np.float32))
    assert not np.isfinite(values).any()

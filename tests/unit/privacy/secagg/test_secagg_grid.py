"""Real sums become whole numbers that one patient moves by a bounded amount and that never overflow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privacy.errors import MechanismError
from privacy.randomness import SecureRandom, SeededRandom
from privacy.secagg.grid import MOST_BOUND, Grid, to_real, to_whole, to_words, word_bits, zeros
from privacy.secagg.shared_noise import Share, SharedNoise, add_share, shared_noise

GRID = Grid(step=0.25, clip_norm=1.0, size=6, most_patients=100)
VALUES = st.floats(-1e6, 1e6)


@given(arrays(float, 6, elements=VALUES), arrays(float, 6, elements=st.floats(-1, 1)), st.integers(-20, 3))
def test_one_patient_moves_the_whole_numbers_by_the_sensitivity_at_most(
    total: np.ndarray, patient: np.ndarray, power: int
) -> None:
    """Catches rounding of each patient apart, rounding of halves away from each other, and a cut that stretches."""
    grid = replace(GRID, step=2.0**power)
    patient = patient / max(1.0, float(np.linalg.norm(patient)) * (1 + 1e-12))
    # what the clipping's slack of a part in 10^9 is for: the float64 sum's own rounding
    moved = to_whole(total + patient, grid) - to_whole(total, grid)
    assert np.linalg.norm(moved.astype(float)) <= grid.sensitivity * (1 + 1e-9)


def test_the_sensitivity_is_reached() -> None:
    """Catches a bound that is only C/step, or only rounding's: a patient at an edge moves every number by one more."""
    grid = Grid(step=1.0, clip_norm=0.002, size=4, most_patients=10)
    moved = to_whole(np.full(4, 0.5 + 1e-4), grid) - to_whole(np.full(4, 0.5 - 1e-4), grid)
    assert to_whole(np.full(4, 0.5), grid).tolist() == [0, 0, 0, 0]  # cut to the bound of one, and even
    assert grid.bound == 1
    assert np.linalg.norm(moved) == 2.0 > grid.clip_norm
    assert np.linalg.norm(moved) <= grid.sensitivity


@given(arrays(float, 6, elements=st.floats(allow_nan=False, allow_infinity=True)))
def test_any_sum_is_within_the_bound(total: np.ndarray) -> None:
    """Catches a conversion that overflows: infinite, huge, subnormal sums."""
    whole = to_whole(total, GRID)
    assert np.abs(whole).max() <= GRID.bound == 400


def test_ties_go_to_the_even_step() -> None:
    """Catches another rule for ties than the docstring's, by which two builds would differ."""
    assert to_whole(np.array([0.5, 1.5, 2.5, -0.5, -1.5, 3.5]) * 0.25, GRID).tolist() == [0, 2, 2, 0, -2, 4]


@given(
    st.sampled_from([32, 64]), st.lists(st.integers(-400, 400), min_size=6, max_size=6), st.integers(1, 100)
)
def test_words_add_up_to_the_sum(bits: int, one: list[int], times: int) -> None:
    """Catches a sign that is lost in the words, at every number of hospitals."""
    total = zeros(6, bits)
    for _ in range(times):
        total += to_words(np.array(one), bits)
    assert to_real(total, GRID).tolist() == [0.25 * times * value for value in one]


@given(
    st.integers(-40, 0),
    st.integers(1, 10**9),
    st.integers(1, 10**12),
    st.integers(3, 100),
    st.integers(1, 2**20),
    st.sampled_from([-1, 1]),
)
def test_nothing_overflows_at_the_extremes(
    power: int, size: int, patients: int, hospitals: int, sigma: int, sign: int
) -> None:
    """Catches a word that is too short: every hospital at its bound, and all noise at the tail's end, on one side."""
    try:
        grid = Grid(2.0**power, 1.0, size, patients)
        bits = word_bits(grid, hospitals, sigma)
    except MechanismError:
        assert patients * 2.0**-power > MOST_BOUND  # 64 bits hold any grid that is admitted
        return
    tail = math.ceil(sigma * math.sqrt(2 * hospitals * math.log(2 * size / 1e-9)))
    total = zeros(1, bits)
    for _ in range(hospitals):
        total += to_words(np.array([sign * grid.bound]), bits)
    total += to_words(np.array([sign * tail]), bits)
    assert to_real(total, replace(grid, step=1.0, most_patients=1))[0] == sign * float(
        hospitals * grid.bound + tail
    )


def test_the_word_is_the_shorter_one_that_fits() -> None:
    """Catches 32 bits one step too long, and 64 where 32 would do."""
    grid = Grid(1.0, 1.0, 1, 2**30 - 50)
    assert word_bits(grid, 1, 1) == 32
    assert word_bits(grid, 2, 1) == 32  # 2^31 - 100, and a tail of 10
    assert word_bits(replace(grid, most_patients=2**30 - 4), 2, 1) == 64


@pytest.mark.parametrize(
    "changes",
    [{"step": 0.3}, {"step": 0.0}, {"step": -1.0}, {"step": math.inf}, {"clip_norm": 0.0}, {"clip_norm": math.nan},
     {"size": 0}, {"most_patients": 0}, {"size": 2.0}, {"step": 2.0**-60}],
)  # fmt: skip
def test_a_grid_that_breaks_a_bound_is_refused(changes: dict[str, float]) -> None:
    """Catches a grid on which division is not exact, or numbers pass what a float64 holds."""
    with pytest.raises(MechanismError):
        replace(GRID, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "total", [np.zeros(5), np.zeros((6, 1)), np.zeros(6, np.float32), np.array([math.nan] * 6)]
)
def test_what_is_no_clipped_sum_is_refused(total: np.ndarray) -> None:
    """Catches a sum of another size or precision than the accounting's, and a patient who was not clipped."""
    with pytest.raises(MechanismError):
        to_whole(total, GRID)


@pytest.mark.parametrize("honest", [1, 2, 7, 66])
def test_the_honest_shares_together_are_as_strong_as_asked(honest: int) -> None:
    """Catches shares that need more hospitals than are counted on, and shares larger than needed by over one step."""
    noise = shared_noise(1.5, GRID, honest)
    assert noise.multiplier >= 1.5
    assert math.sqrt(honest) * (noise.sigma - 1) < 1.5 * GRID.sensitivity
    assert noise.std(honest) == pytest.approx(math.sqrt(honest) * noise.sigma * 0.25)


def test_a_share_has_the_noise_that_it_states() -> None:
    """Catches noise before rounding, twice, or none; level 1e-7, finds 2 % in 20,000 numbers (computed elsewhere)."""
    grid = replace(GRID, size=20_000)
    noise = SharedNoise(grid, 50, 2)
    share = add_share(np.full(20_000, 7.1), noise, SecureRandom())
    spread = share.whole - 28
    assert share.secure
    assert 0.96 < spread.std() / 50 < 1.04  # 5.3 deviations of 1/sqrt(40,000) are 0.027
    assert abs(spread.mean()) < 6 * 50 / math.sqrt(20_000)
    assert not add_share(np.zeros(20_000), noise, SeededRandom(0)).secure


def test_shares_out_of_bounds_are_refused() -> None:
    """Catches a share that was made without noise, or of a scale that can't be drawn."""
    with pytest.raises(MechanismError, match="add_share"):
        Share(np.zeros(6, np.int64), SharedNoise(GRID, 1, 1), True, object())
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(MechanismError, match="noise_multiplier"):
            shared_noise(wrong, GRID, 1)
    with pytest.raises(MechanismError, match="coarser"):
        shared_noise(1.0, replace(GRID, step=2.0**-25), 1)
    for honest in (0, 1.0):
        with pytest.raises(MechanismError, match="honest"):
            shared_noise(1.0, GRID, honest)  # type: ignore[arg-type]

"""Poisson draws, and the keystream under them."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from scipy import stats

from privacy.errors import MechanismError
from privacy.randomness import SecureRandom, SeededRandom
from privacy.sampling import draw_patients, draw_samples

PATIENTS = [f"p{number}" for number in range(40)]


def test_each_patient_is_drawn_at_the_rate_and_independently() -> None:
    """Catches a fixed batch size: the count over 4,000 draws is binomial, in mean and in variance.

    At level 1e-6 the variance test rejects a fixed size outright, and draws at 0.9 or 1.1 of the rate.
    """
    random = SeededRandom(1)
    draws = [draw_patients(PATIENTS, 0.2, random) for _ in range(4000)]
    each = np.array([sum(patient in draw for draw in draws) for patient in PATIENTS])
    assert stats.binomtest(int(each.sum()), 4000 * 40, 0.2).pvalue > 1e-6
    assert abs(each - 800).max() < 6 * np.sqrt(4000 * 0.2 * 0.8)
    counts = np.array([len(draw) for draw in draws])
    statistic = counts.var(ddof=1) * 3999 / (40 * 0.2 * 0.8)
    assert stats.chi2.ppf(1e-6, 3999) < statistic < stats.chi2.ppf(1 - 1e-6, 3999)


def test_a_draw_may_be_empty_and_rate_one_draws_all() -> None:
    """Catches a draw that is padded to hold someone."""
    random = SeededRandom(2)
    assert any(draw_patients(PATIENTS[:3], 0.1, random) == [] for _ in range(50))
    assert draw_patients(PATIENTS, 1.0, random) == PATIENTS
    assert draw_patients([], 0.5, random) == []


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    """Catches a draw at a rate that the accounting never saw."""
    with pytest.raises(MechanismError, match="rate"):
        draw_patients(PATIENTS, rate, SeededRandom(0))


def test_a_patient_listed_twice_is_refused() -> None:
    """Catches a patient who would be drawn, and clipped, as two."""
    with pytest.raises(MechanismError, match="twice"):
        draw_patients(["p1", "p2", "p1"], 0.5, SeededRandom(0))


def test_samples_are_drawn_without_replacement_up_to_the_bound() -> None:
    """Catches a sample used twice, a bound passed over, and a sample that is never drawn."""
    random = SeededRandom(3)
    draws = [draw_samples(6, 4, random) for _ in range(300)]
    assert all(len(set(draw)) == 4 and draw == sorted(draw) for draw in draws)
    assert {index for draw in draws for index in draw} == set(range(6))
    assert draw_samples(3, 4, random) == [0, 1, 2]
    assert draw_samples(0, 4, random) == []


def test_seeds_repeat_and_secure_sources_do_not() -> None:
    """Catches a secure source with a fixed key."""
    assert np.array_equal(SeededRandom(7).gaussian(9), SeededRandom(7).gaussian(9))
    assert not np.array_equal(SeededRandom(7).gaussian(9), SeededRandom(8).gaussian(9))
    assert not np.array_equal(SecureRandom().gaussian(9), SecureRandom().gaussian(9))


def test_a_fork_does_not_repeat_its_parents_noise() -> None:
    """Catches equal noise in two processes: their difference would show the data bare."""
    random = SecureRandom()
    random.uniform(4)
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(send, struct.pack("<4d", *random.uniform(4)))
        os._exit(0)
    os.waitpid(child, 0)
    assert struct.unpack("<4d", os.read(receive, 32)) != tuple(random.uniform(4))


def test_the_stream_has_the_stated_distributions() -> None:
    """Catches a slip in Box-Muller or in the 53-bit uniforms (100,000 values, level 1e-6)."""
    random = SeededRandom(5)
    assert stats.kstest(random.uniform(100_000), "uniform").pvalue > 1e-6
    assert stats.kstest(random.gaussian(100_001), "norm").pvalue > 1e-6
    assert stats.chisquare(np.bincount(random.integers(100_000, 10), minlength=10)).pvalue > 1e-6
    assert random.gaussian(0).shape == (0,)
    with pytest.raises(ValueError, match="below"):
        random.integers(1, 0)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16_383, 16_384, 16_385, 50_001])
def test_any_number_of_gaussians_is_that_many(count: int) -> None:
    """Catches a block that is cut, doubled or left unfilled at its end."""
    values = SecureRandom().gaussian(count)
    assert values.shape == (count,)
    assert np.isfinite(values).all()
    assert len(np.unique(values)) == count


def test_hardened_gaussians_are_gaussian_in_their_tails_and_independent() -> None:
    """Catches sums whose variance is not 1, tails cut by Box-Muller, and values that share a pair.

    A million values: the fourth moment is known to 0.01, where a sum of uniforms would have 1.8 to 2.7; about
    63 lie beyond four deviations. Were a pair used for two values of one block, their correlation would be
    0.25 or more at the lag between them; each lag is tested at 6 deviations of 1/128.
    """
    random = SeededRandom(11)
    values = random.gaussian(1 << 20)
    assert abs(values.var() - 1.0) < 6 * np.sqrt(2 / 2**20)
    assert abs((values**4).mean() - 3.0) < 6 * np.sqrt(96 / 2**20)
    assert stats.poisson(2**20 * 2 * stats.norm.sf(4)).interval(1 - 1e-6)[0] <= (np.abs(values) > 4).sum()
    block = random.gaussian(1 << 14)
    spectrum = np.abs(np.fft.rfft(block, 1 << 15)) ** 2
    correlation = np.fft.irfft(spectrum)[1 : 1 << 14] / (1 << 14)
    assert np.abs(correlation).max() < 6 / 128
    squares = block**2 - 1
    correlation = np.fft.irfft(np.abs(np.fft.rfft(squares, 1 << 15)) ** 2)[1 : 1 << 14] / (2 << 14)
    assert np.abs(correlation).max() < 6 / 128


def test_only_the_operating_systems_entropy_counts_as_secure() -> None:
    """Catches a seeded source that a release would take for a secret one."""
    assert SecureRandom().secure
    assert not SeededRandom(0).secure

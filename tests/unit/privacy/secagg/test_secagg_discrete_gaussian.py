"""The discrete Gaussian is exactly what it says: by chi-square with stated power, from whole numbers only."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from privacy.errors import MechanismError
from privacy.randomness import SeededRandom
from privacy.secagg.discrete_gaussian import MOST_SIGMA, discrete_gaussian

COUNT = 400_000
LEVEL = 1e-7


def pmf(sigma: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Support up to 13 sigma, and probabilities."""
    x = np.arange(-13 * int(sigma) - 1, 13 * int(sigma) + 2)
    weight = np.exp(-(x**2) / (2 * sigma**2))
    return x, weight / weight.sum()


def pooled(sigma: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over bins that expect 50 values or more, tails together; `values` stand for each x of `pmf`."""
    x, p = pmf(sigma)
    inner = p * COUNT >= 50
    return np.concatenate([[values[~inner & (x < 0)].sum()], values[inner], [values[~inner & (x > 0)].sum()]])


def statistic(sigma: int, drawn: NDArray[np.int64]) -> tuple[float, int]:
    x, p = pmf(sigma)
    found = np.bincount(drawn - x[0], minlength=x.size).astype(float)
    expected = pooled(sigma, p) * COUNT
    return float(((pooled(sigma, found) - expected) ** 2 / expected).sum()), expected.size - 1


def power(sigma: int, wrong: NDArray[np.float64]) -> float:
    """The chance that the chi-square test finds draws with the probabilities `wrong` over `pmf`'s support."""
    expected = pooled(sigma, pmf(sigma)[1]) * COUNT
    noncentrality = ((pooled(sigma, wrong) * COUNT - expected) ** 2 / expected).sum()
    degrees = expected.size - 1
    return float(stats.ncx2.sf(stats.chi2.isf(LEVEL, degrees), degrees, noncentrality))


@pytest.mark.parametrize("sigma", [1, 2, 3, 10])
def test_frequencies_are_those_of_the_exact_probabilities(sigma: int) -> None:
    """Catches, at level 1e-7 and with the power that the next test computes: a rounded continuous Gaussian, minus zero
    kept, a last place within a deviation that is never drawn, a variance off by two per cent.
    """
    found, degrees = statistic(sigma, discrete_gaussian(COUNT, sigma, SeededRandom(sigma)))
    assert found < stats.chi2.isf(LEVEL, degrees)


@pytest.mark.parametrize("sigma", [1, 2, 3])
def test_the_chi_square_test_has_the_power_that_it_states(sigma: int) -> None:
    """The faults that are named above, by their probabilities, would be found in over 0.999 of runs."""
    x, p = pmf(sigma)
    minus_zero = np.where(x == 0, 2 * p, p)
    short = np.where((np.abs(x) % sigma == sigma - 1) & (sigma > 1), 0, p)
    wide = np.exp(-(x**2) / (2 * (1.02 * sigma) ** 2))
    faults = [minus_zero, wide, *([short] if sigma > 1 else [])]
    for weight in faults:
        assert power(sigma, weight / weight.sum()) > 0.999
    if sigma == 1:  # at larger sigma a rounded Gaussian is within 1/(24 sigma^2): too close to tell
        assert power(sigma, stats.norm.cdf(x + 0.5) - stats.norm.cdf(x - 0.5)) > 0.999


def test_a_rounded_gaussian_is_caught() -> None:
    """Shown on draws, not only computed."""
    rounded = np.rint(SeededRandom(0).gaussian(COUNT)).astype(np.int64)
    found, degrees = statistic(1, rounded)
    assert found > 1.5 * stats.chi2.isf(LEVEL, degrees)


@pytest.mark.parametrize("sigma", [37, 4096, MOST_SIGMA])
def test_large_sigma_has_the_right_shape_spread_tails_and_sign(sigma: int) -> None:
    """Catches a wrong scale (1 % is found in over 0.999 of runs: 400,000 values, level 1e-7), a tail cut at four
    deviations or fattened (expected beyond: 25), an odd function of the sign, and low bits that are not as likely.
    """
    drawn = discrete_gaussian(COUNT, sigma, SeededRandom(sigma))
    low, high = stats.chi2.ppf([LEVEL / 2, 1 - LEVEL / 2], COUNT)
    assert low < (drawn / sigma).astype(float) @ (drawn / sigma) < high
    assert stats.binomtest(int((drawn > 0).sum()), int((drawn != 0).sum())).pvalue > LEVEL
    beyond = 2 * stats.norm.sf(4 + 0.5 / sigma)
    assert stats.binomtest(int((np.abs(drawn) > 4 * sigma).sum()), COUNT, beyond).pvalue > LEVEL
    if sigma > 1000:  # the steps of the distribution are too small for this test to see
        assert stats.kstest(drawn / sigma, "norm").pvalue > LEVEL
    assert stats.chisquare(np.bincount(drawn % 16, minlength=16)).pvalue > LEVEL
    power = stats.chi2.sf(high / 1.01**4, COUNT) + stats.chi2.cdf(low / 1.01**4, COUNT)
    assert power > 0.999


def test_nothing_but_whole_numbers_takes_part() -> None:
    """Catches a floating-point shortcut: the source gives whole numbers only."""

    class WholeOnly:
        secure = False

        def __init__(self) -> None:
            self.inner = SeededRandom(1)

        def whole(self, count: int, below: int | NDArray[np.int64]) -> NDArray[np.int64]:
            assert np.max(below, initial=1) < 2**40  # far from the end of 64 bits, as the module says
            return self.inner.whole(count, below)

    drawn = discrete_gaussian(1000, MOST_SIGMA, WholeOnly())  # type: ignore[arg-type]
    assert drawn.dtype == np.int64


def test_any_number_of_deviates() -> None:
    """Catches a last batch that is too long, too short, or never comes."""
    for count in (0, 1, 2, 17, 70_000):
        assert discrete_gaussian(count, 5, SeededRandom(count)).shape == (count,)


@pytest.mark.parametrize("sigma", [0, -1, MOST_SIGMA + 1, 2.0, True])
def test_another_sigma_is_refused(sigma: int) -> None:
    """Catches noise of a scale for which the bounds do not hold, or none."""
    with pytest.raises(MechanismError, match="sigma"):
        discrete_gaussian(1, sigma, SeededRandom(0))


@pytest.mark.parametrize("below", [1, 2, 7, 3 * 2**61, 2**63 - 1])
def test_whole_numbers_are_without_bias(below: int) -> None:
    """Catches the modulo's bias: below 3 x 2^61 the lower two thirds would come in three of four draws, not in two of
    three, which 20,000 draws tell apart by 20 deviations; and a bound of which the last number never comes.
    """
    drawn = SeededRandom(3).whole(20_000, below)
    assert drawn.min() >= 0
    assert drawn.max() < below
    cut = max(1, below // 3 * 2)
    assert stats.binomtest(int((drawn < cut).sum()), drawn.size, cut / below).pvalue > LEVEL
    if below <= 7:
        assert set(drawn) == set(range(below))


def test_each_whole_number_may_have_a_bound_of_its_own() -> None:
    """Catches bounds that are taken for the wrong place when some are drawn again."""
    bounds = np.array([1, 3 * 2**61, 2, 5 * 2**60] * 5000)
    drawn = SeededRandom(4).whole(bounds.size, bounds)
    assert (drawn >= 0).all()
    assert (drawn < bounds).all()
    for at in range(4):
        share = drawn[at::4] / bounds[at::4]
        assert (
            abs(share.mean() - 0.5 * (1 - 1 / bounds[at])) < 6 / np.sqrt(12 * 5000) + (bounds[at] == 2) * 0.04
        )
    with pytest.raises(ValueError, match="below"):
        SeededRandom(0).whole(2, np.array([1, 0]))

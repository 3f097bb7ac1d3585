"""The discrete Gaussian, exactly: P(x) proportional to exp(-x^2 / (2 sigma^2)) over the whole numbers.

Karney, "Sampling exactly from the normal distribution" (ACM TOMS 42(1), arXiv 1303.6257), algorithm D with mean 0 and
a whole sigma. Write |x| = k sigma + j with 0 <= j < sigma:

    k   with probability proportional to exp(-k^2/2): exp(-k/2) by repeated trials, then exp(-k(k-1)/2)
    j   uniform below sigma, kept with probability exp(-(j/sigma)(2k + j/sigma)/2)
    a sign; minus zero is thrown back, or 0 would be twice as likely as it should

The product of the three is exp(-(k + j/sigma)^2 / 2). No floating point number takes part: each trial of
probability exp(-a/b) is made of trials of probability u/v, u and v whole (von Neumann; Canonne, Kamath, Steinke, arXiv
2004.00010, algorithm 1), and each of those is a uniform whole number below v compared with u.

Bounds. v is K, sigma or 2 (k+1) sigma, so with sigma <= 2^20 it stays under 2^63 while k < 2^42, and counters are
int64. Reaching k = 2^42 would take that many successes in a row of probability exp(-1/2) each: it does not happen.

Time depends on what is drawn: this is not for where somebody can time a single deviate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MechanismError
from privacy.randomness import RandomSource

MOST_SIGMA = 2**20
_BLOCK = 1 << 16  # runs at a time: their parts stay in the processor's cache

_Flags = NDArray[np.bool_]
_Whole = NDArray[np.int64]
_Trial = Callable[[_Whole], _Flags]


def discrete_gaussian(count: int, sigma: int, random: RandomSource) -> _Whole:
    """`count` independent discrete Gaussians of the parameter `sigma`, a whole number from 1 to 2^20.

    Their variance is sigma^2 up to a relative 1e-6 at sigma = 1, and up to exp(-2 pi^2 sigma^2) beyond.
    Raises `MechanismError` for another sigma.
    """
    if type(sigma) is not int or not 1 <= sigma <= MOST_SIGMA:
        raise MechanismError(f"sigma must be a whole number from 1 to 2^20, not {sigma!r}")
    out = np.empty(count, np.int64)
    done = 0
    while done < count:
        some = _accepted(min(_BLOCK, 2 * (count - done) + 16), sigma, random)[: count - done]
        out[done : done + some.size] = some
        done += some.size
    return out


def _accepted(count: int, sigma: int, random: RandomSource) -> _Whole:
    """What `count` runs of the algorithm give, those left out that throw their deviate back."""
    k = _whole_deviations(count, random)
    j = random.whole(k.size, sigma)
    negative = random.whole(k.size, 2) == 1
    kept = ~(negative & (k == 0) & (j == 0))
    kept[kept] = _keep(k[kept], j[kept], sigma, random)
    value: _Whole = np.where(negative, -(k * sigma + j), k * sigma + j)[kept]
    return value


def _whole_deviations(count: int, random: RandomSource) -> _Whole:
    """What `count` trials give of k >= 0 with probability proportional to exp(-k^2/2), those left out that fail."""
    k = np.zeros(count, np.int64)
    going = np.arange(count)
    while going.size:
        going = going[_exp_half(going.size, random)]
        k[going] += 1
    return k[_all_of(k * (k - 1), lambda some: _exp_half(some.size, random))]


def _keep(k: _Whole, j: _Whole, sigma: int, random: RandomSource) -> _Flags:
    """True with probability exp(-(j/sigma)(2k + j/sigma)/2), as k+1 trials of exp(-a/b) with

    a/b = (j/sigma) ((2k sigma + j) / (2(k+1) sigma)), two factors that are each under 1.
    """

    def trial(some: _Whole) -> _Flags:
        return _exp_minus(j[some], k[some], sigma, random)

    return _all_of(k + 1, trial)


def _all_of(trials: _Whole, trial: _Trial) -> _Flags:
    """Whether each of `trials[i]` independent trials of i succeeds; `trial` takes the i that are still in."""
    kept = np.ones(trials.size, np.bool_)
    going = np.flatnonzero(trials)
    done = 0
    while going.size:
        passed = trial(going)
        kept[going[~passed]] = False
        done += 1
        going = going[passed]
        going = going[trials[going] > done]
    return kept


def _exp_half(count: int, random: RandomSource) -> _Flags:
    """True with probability exp(-1/2): the first failure among trials of 1/(2K), K = 1, 2, ..., is at an odd K."""
    odd = np.ones(count, np.bool_)
    going = np.arange(count)
    turn = 1
    while going.size:
        going = going[random.whole(going.size, 2 * turn) == 0]
        odd[going] ^= True
        turn += 1
    return odd


def _exp_minus(j: _Whole, k: _Whole, sigma: int, random: RandomSource) -> _Flags:
    """True with probability exp(-a/b), a/b as in `_keep`: as `_exp_half`, with trials of (1/K)(a/b)."""
    odd = np.ones(j.size, np.bool_)
    going = np.arange(j.size)
    turn = 1
    while going.size:
        if turn > 1:
            going = going[random.whole(going.size, turn) == 0]
        going = going[random.whole(going.size, sigma) < j[going]]
        most = 2 * (k[going] + 1) * sigma
        going = going[random.whole(going.size, most) < 2 * k[going] * sigma + j[going]]
        odd[going] ^= True
        turn += 1
    return odd

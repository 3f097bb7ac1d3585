"""What an attack's success proves: lower bounds on epsilon, each with its confidence.  Pure.

- `repeated_releases_bound`: scores of many releases with and without one canary.  Gaussian DP (Dong, Roth and
  Su, arXiv 1905.02383) with Clopper-Pearson limits, as Nasr et al., arXiv 2302.07956.
- `one_run_bound`: one training with many canaries, each in by a coin's toss.  Steinke, Nasr and Jagielski,
  arXiv 2305.08846, Theorem 5.2.
- `one_run_gaussian_bound`: the same guesses.  Mahloujifar, Melis and Chaudhuri, arXiv 2410.22235, Algorithm 3,
  with Gaussian trade-off curves.

A bound far below the claim proves nothing about the claim: with few canaries these instruments are blind to
much (docs/selftest.md says how much).  A bound *above* the claim disproves it, but for chance `1 - confidence`.
The two Gaussian ones suppose that the mechanism's trade-off curve is one of the Gaussian family;
`one_run_bound` supposes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

_PRECISION = 1e-4
_MOST = 100.0  # epsilon beyond which no bound is looked for


@dataclass(frozen=True)
class Guesses:
    """`correct` of `made` guesses whether a canary was in, of `canaries` that each were with chance 1/2.

    Who guesses may leave canaries out (`made < canaries`), but must choose the number before seeing the scores.
    """

    canaries: int
    made: int
    correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.made <= self.canaries or self.made < 1:
            raise ValueError(f"{self.correct} correct of {self.made} guesses about {self.canaries} canaries?")


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon at `delta` of a mechanism that is exactly `mu`-Gaussian-DP; 0.0 where delta alone covers it.

    The inverse of delta = Phi(-eps/mu + mu/2) - exp(eps) Phi(-eps/mu - mu/2) (arXiv 1905.02383, Corollary
    2.13).  A full-batch Gaussian step of noise multiplier s has mu = 1/s.
    """
    _check_delta(delta)
    if mu <= 0:
        return 0.0

    def holds(epsilon: float) -> bool:
        first = special.log_ndtr(-epsilon / mu + mu / 2)
        second = epsilon + special.log_ndtr(-epsilon / mu - mu / 2)
        return bool(math.exp(first) - math.exp(second) <= delta)

    if holds(0.0):
        return 0.0
    high = 1.0
    while not holds(high):
        high *= 2
    return _bisect(lambda epsilon: not holds(epsilon), 0.0, high)


def repeated_releases_bound(
    present: Sequence[float], absent: Sequence[float], threshold: float, delta: float, confidence: float
) -> float:
    """A lower bound on epsilon from scores of releases whose canary was `present` or `absent`.

    A score above `threshold` counts as "present".  The threshold must be fixed before the scores are seen (half
    of what the canary adds is best), or the confidence is lost.  0.0 where nothing can be said.

    What it sees at 95 % (medians, delta 1e-5): of a true 8, 4.7 in 200 releases, 6.5 in 1,000, 7.3 in 5,000; of
    a true 1, 0.1 in 1,000 and 0.6 in 5,000.
    """
    if not present or not absent:
        raise ValueError("scores with and without the canary are both needed")
    false_alarms = sum(score > threshold for score in absent)
    misses = sum(score <= threshold for score in present)
    each = (1 - _checked(confidence)) / 2
    alpha = clopper_pearson_upper(false_alarms, len(absent), each)
    beta = clopper_pearson_upper(misses, len(present), each)
    return gaussian_epsilon(float(special.ndtri(1 - alpha) - special.ndtri(beta)), delta)


def clopper_pearson_upper(successes: int, trials: int, level: float) -> float:
    """The exact upper limit on a probability: above it, so few successes have chance `level` at most."""
    if successes >= trials:
        return 1.0
    return float(stats.beta.ppf(1 - level, successes + 1, trials - successes))


def guess(scores: NDArray[np.float64], included: NDArray[np.bool_], share: float) -> Guesses:
    """Guess "in" for the highest `share / 2` of the scores, "out" for as many of the lowest; leave the rest."""
    each = max(1, int(len(scores) * share / 2))
    order = np.argsort(scores, kind="stable")
    correct = int(included[order[-each:]].sum() + (~included[order[:each]]).sum())
    return Guesses(len(scores), 2 * each, correct)


def one_run_bound(guesses: Guesses, delta: float, confidence: float) -> float:
    """A lower bound on epsilon, for any (epsilon, delta)-DP mechanism; 0.0 where nothing can be said."""
    _check_delta(delta)
    level = 1 - _checked(confidence)
    return _largest(lambda epsilon: _chance_one_run(guesses, epsilon, delta) <= level, _MOST)


def one_run_gaussian_bound(guesses: Guesses, delta: float, confidence: float) -> float:
    """A lower bound on epsilon, where the trade-off curve is Gaussian; 0.0 where nothing can be said."""
    level = 1 - _checked(confidence)
    return gaussian_epsilon(_largest(lambda mu: _refuted(guesses, mu, level), 20.0), delta)


def _chance_one_run(guesses: Guesses, epsilon: float, delta: float) -> float:
    """A bound on the chance of as many correct guesses under (epsilon, delta)-DP."""
    made, correct = guesses.made, guesses.correct
    rate = special.expit(epsilon)
    beyond = float(stats.binom.sf(correct - 1, made, rate))
    # Theorem 5.2's correction for delta: the steepest mean slope of the distribution just below `correct`.
    below = stats.binom.pmf(np.arange(correct - 1, -1, -1), made, rate).cumsum()
    slope = float((below / np.arange(1, correct + 1)).max(initial=0.0))
    return min(1.0, beyond + 2 * guesses.canaries * delta * slope)


def _refuted(guesses: Guesses, mu: float, level: float) -> bool:
    """Whether as many correct guesses have chance under `level` for every `mu`-Gaussian-DP mechanism.

    Follows the paper's recursion down from the event of exactly `correct` correct ones: `right[i]` and `wrong[i]`
    bound the mass of correct and of wrong guesses where at least i are correct.
    """
    made, correct = guesses.made, guesses.correct
    right = level * correct / guesses.canaries
    wrong = level * (made - correct) / guesses.canaries
    for i in range(correct - 1, -1, -1):
        least = max(wrong, float(special.ndtr(special.ndtri(right) - mu)))
        right += i / (made - i) * (least - wrong)
        wrong = least
        if right + wrong > made / guesses.canaries:
            return True
    return False


def _largest(refuted: Callable[[float], bool], most: float) -> float:
    """The largest value that is refuted, to `_PRECISION` and rounded down; `refuted` falls from true to false."""
    return _bisect(refuted, 0.0, most, down=True) if refuted(0.0) else 0.0


def _bisect(below: Callable[[float], bool], low: float, high: float, *, down: bool = False) -> float:
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return low if down else high


def _checked(confidence: float) -> float:
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence must lie between 0.5 and 1, not {confidence}")
    return confidence


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie between 0 and 1, not {delta}")

"""What noised counts say: mean scores with the intervals that the noise leaves them.  Post-processing; no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_Z95 = 1.959963984540054
_GRID = np.linspace(0.0, 1.0, 1001)
_ROUNDING = 1 / 12  # the variance of rounding to whole numbers


@dataclass(frozen=True)
class Estimate:
    """A kind's mean score, and the 95 % interval that the noise leaves it; [0, 1] where it tells nothing.

    The interval is about the noise alone: it says how near the mean over these very patients lies.  `patients`
    is the noised number of patients with such questions.
    """

    mean: float
    ci95: tuple[float, float]
    patients: int


def estimate(counts: Sequence[tuple[int, int, float]]) -> Estimate:
    """The mean score right / (right + wrong) of a kind, from noised counts: (right, wrong, noise_std) each.

    Several hospitals' counts are pooled: counts add up, and so do the variances of noise and rounding.  Of no
    counts nothing is known.  Fieller's interval (1954): the ratios m, of 0, 0.001, ... 1, that the counts don't
    contradict, since (1 - m) right - m wrong is Gaussian around 0 at the true m.  It covers 95 % whatever the
    counts (more at the ends of [0, 1]), where an interval around the ratio fails once the noise nears the number
    of patients.
    """
    right, wrong = sum(count[0] for count in counts), sum(count[1] for count in counts)
    spread = math.sqrt(sum(noise_std**2 + _ROUNDING for _, _, noise_std in counts))
    gap = np.abs((1 - _GRID) * right - _GRID * wrong)
    contradiction = gap / np.hypot(1 - _GRID, _GRID)
    best = int(np.argmin(contradiction))
    fits = np.flatnonzero(contradiction <= _Z95 * spread)
    low, high = (fits[0], fits[-1]) if len(fits) else (best, best)
    return Estimate(float(_GRID[best]), (float(_GRID[low]), float(_GRID[high])), right + wrong)

"""Epsilon by Renyi divergences: for Poisson-subsampled Gaussian steps, of continuous or of shared discrete noise.

For a noise multiplier z and a rate q a step's divergence of whole order a is log(A_a) / (a - 1) at most,

    A_a = sum_k C(a, k) (1-q)^(a-k) q^k exp(k (k-1) / (2 z^2))

(Mironov, Talwar, Zhang, arXiv 1908.10530, section 3.3). Of continuous noise that is exact; of discrete noise it is a bound,
for which `privacy.secagg.accounting` argues, and which holds for whole orders only. log A_a is convex in a for any two
distributions, so the chord between two whole orders bounds what is between them. Divergences of steps add up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from dp_accounting.rdp import compute_epsilon
from numpy.typing import NDArray
from scipy import special

WHOLE = (*range(1, 65), 80, 96, 128, 192, 256, 384, 512, 1024)
_BETWEEN = tuple(n + tenth / 10 for n in range(1, 12) for tenth in range(1, 10))
ORDERS = tuple(sorted({*WHOLE[1:], *_BETWEEN}))


def epsilon(steps: Sequence[tuple[float, float, int]], delta: float) -> float:
    """An upper bound on the epsilon of all `steps`: (noise multiplier, sampling rate, how many); 0.0 for none."""
    if not steps:
        return 0.0
    total = sum(count * divergences(noise, rate) for noise, rate, count in steps)
    return float(compute_epsilon(ORDERS, total, delta)[0])


@lru_cache(maxsize=1024)
def divergences(noise_multiplier: float, sampling_rate: float) -> NDArray[np.float64]:
    """A bound on one step's Renyi divergence at each of `ORDERS`, in both directions; read-only."""
    logs = [_log_moment(order, noise_multiplier, sampling_rate) for order in WHOLE]
    orders = np.array(ORDERS)
    found: NDArray[np.float64] = np.interp(orders, np.array(WHOLE, np.float64), logs) / (orders - 1)
    found.flags.writeable = False
    return found


def _log_moment(order: int, multiplier: float, rate: float) -> float:
    """log A_a; 0 at order 1."""
    k = np.arange(order + 1.0)
    growth = k * (k - 1) / (2 * multiplier**2)
    if rate == 1:
        return float(growth[-1])
    binomial = special.gammaln(order + 1) - special.gammaln(k + 1) - special.gammaln(order - k + 1)
    terms = binomial + (order - k) * math.log1p(-rate) + k * math.log(rate) + growth
    return max(0.0, float(special.logsumexp(terms)))

"""Epsilon of Poisson-subsampled sums that are hidden by several hospitals' shares of discrete Gaussian noise.

One step's output is the sum over hospitals of rounded sums (sensitivity `Grid.sensitivity` =: D) and of shares, of
which h honest ones count. Write s^2 = h sigma^2, z = s/D = `SharedNoise.multiplier`, q for the rate. In four parts:

1. **One discrete Gaussian, moved by a whole vector v with |v| <= D.** Its Renyi divergence of order a is at most the
   continuous one's, a |v|^2 / (2 s^2) (Canonne, Kamath, Steinke, arXiv 2004.00010, proposition 5; coordinates add up).
2. **Poisson sampling.** Let P0 be the noise around 0 and P1 around v. By joint quasi-convexity over the other
   patients' draws and by moving everything by a whole vector, a step costs at most max(D_a(M || P0), D_a(P0 || M)) with
   M = (1-q) P0 + q P1. The map x -> v - x keeps the counting measure, is its own inverse and swaps P0 and P1, so
   theorem 5 of Mironov, Talwar, Zhang (arXiv 1908.10530) says that the first is the larger. For whole a it is

       A_a = sum_k C(a, k) (1-q)^(a-k) q^k E_P0[(P1/P0)^k],   and by 1.  E_P0[(P1/P0)^k] <= exp(k (k-1) / (2 z^2))

   which is the formula of the continuous mechanism with the noise multiplier z (their section 3.3). It holds for whole
   orders only; log A_a is convex in a for any two distributions, so the chord between two whole orders bounds what is
   between them (`privacy.renyi`).
3. **A sum of h shares is no discrete Gaussian**, but its probability differs from that of one of variance s^2 by at
   most tau = 10 sum_{k=1}^{h-1} exp(-2 pi^2 sigma^2 k/(k+1)) in log ratio, a coordinate (Kairouz, Liu, Steinke, arXiv
   2102.06387; half of it, by their proof). Over d coordinates all of P0, P1 and M change by a factor within
   exp(+-tau d), so sum M^a P0^(1-a) changes by exp(tau d (a + a - 1)) at most: a step costs (2a-1)/(a-1) tau d more.
   At sigma >= 2 that is under 1e-15 d, and at sigma >= 16, the least that a plan may ask for, 0 in float64 for any d:
   so that a ledger's event needs neither sigma nor d.
4. Steps add up, and `dp_accounting` turns the whole curve into epsilon at delta.

What is *not* used: the privacy loss distribution of `privacy.accounting`, though tighter by some 10 %. It is that of the
continuous Gaussian, and a bound on Renyi divergences doesn't imply it.
"""

from __future__ import annotations

import math

import numpy as np
from dp_accounting.rdp import compute_epsilon
from numpy.typing import NDArray

from privacy.errors import MechanismError
from privacy.mechanism import LEAST_RATE, MOST_STEPS
from privacy.renyi import ORDERS, divergences
from privacy.secagg.shared_noise import SharedNoise


def epsilon(noise: SharedNoise, sampling_rate: float, steps: int, delta: float) -> float:
    """An upper bound on the epsilon, at `delta`, of `steps` such sums, each with a draw and noise of its own.

    For adjacency "add or remove one patient"; against whoever sees the sums, and knows all noise but `noise.honest`
    shares in each. Raises `MechanismError` for a rate, a number of steps, or a delta out of range.
    """
    if not LEAST_RATE <= sampling_rate <= 1:
        raise MechanismError(f"sampling_rate must lie between {LEAST_RATE:g} and 1, not {sampling_rate}")
    if type(steps) is not int or not 1 <= steps <= MOST_STEPS:
        raise MechanismError(f"steps must be a whole number from 1 to {MOST_STEPS}, not {steps!r}")
    if not 0 < delta < 1:
        raise MechanismError(f"delta must lie between 0 and 1, not {delta}")
    return float(compute_epsilon(ORDERS, steps * renyi(noise, sampling_rate), delta)[0])


def renyi(noise: SharedNoise, sampling_rate: float) -> NDArray[np.float64]:
    """A bound on one step's Renyi divergence at each of `ORDERS`, in both directions."""
    orders = np.array(ORDERS)
    gap = log_ratio(noise.sigma, noise.honest) * noise.grid.size
    bound: NDArray[np.float64] = (
        divergences(noise.multiplier, sampling_rate) + (2 * orders - 1) / (orders - 1) * gap
    )
    return bound


def log_ratio(sigma: int, shares: int) -> float:
    """tau: how far the log probability of a sum of shares is from one discrete Gaussian's, a coordinate, at most."""
    exponents = (-2 * (math.pi * sigma) ** 2 * k / (k + 1) for k in range(1, shares))
    return 10 * math.fsum(map(math.exp, exponents))

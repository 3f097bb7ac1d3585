"""Epsilon a second time: Opacus' accountants, other people's code and another method.

PRV composes the privacy random variable numerically (Gopi et al., arXiv 2106.02848), where `privacy.accounting`
composes the loss distribution; the two agree to about 0.01, so a larger gap means that one of them is wrong. Where
distributed trust took part, Opacus' Renyi divergences of whole orders take its place: other code for the same bound.
It is slower and holds nothing up: audits and the planner ask it, the ledger does not.  Opacus' Gaussian-DP
accountant is no alternative: on unlike rounds it says 0.79 where the truth is 13.0.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from opacus.accountants import PRVAccountant
from opacus.accountants.analysis import rdp
from opacus.accountants.analysis.prv import Domain
from scipy.fft import next_fast_len

from privacy.accounting import any_shared, beyond_all_budgets, merged
from privacy.mechanism import Event
from privacy.renyi import ORDERS, WHOLE

ERROR = 0.01  # how far above the truth its upper bound may lie
AGREEMENT = 0.02  # how far the two accountants may lie apart, up to an epsilon of about 20
_MOST_POINTS = (
    10_000_000  # of its grid: half a minute, and under a GB; a history at epsilon 180 needs half of it
)


def epsilon(events: Sequence[Event], delta: float) -> float:
    """An upper bound on the epsilon of all `events` together at `delta`; 0.0 for none.

    `inf` where `privacy.accounting.epsilon` is: for noise under 0.2, or a loss beyond about 2,000.  At most 0.01
    above the truth, so a mechanism of next to no cost shows as 0.01.  Raises `ValueError` unless 0 < delta < 1, and
    where the method can't say: delta under about 1e-12, or a grid that would take minutes.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie between 0 and 1, not {delta}")
    if not events:
        return 0.0
    if beyond_all_budgets(events):
        return math.inf
    if any_shared(events):
        return _by_divergences(events, delta)
    accountant = _Bounded()
    accountant.history = list(merged(events))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of quadrature where the integrand is all but zero
        return float(accountant.get_epsilon(delta, eps_error=ERROR))


def _by_divergences(events: Sequence[Event], delta: float) -> float:
    """By Opacus' divergences of whole orders, and the chord between them: those between are not proved (`renyi`)."""
    whole, orders = np.array(WHOLE[1:], np.float64), np.array(ORDERS)
    found = sum(
        rdp.compute_rdp(q=rate, noise_multiplier=noise, steps=steps, orders=WHOLE[1:])
        for noise, rate, steps in merged(events)
    )
    chord = np.interp(orders, [1.0, *whole], [0.0, *((whole - 1) * found)])
    return float(rdp.get_privacy_spent(orders=orders, rdp=chord / (orders - 1), delta=delta)[0])


class _Bounded(PRVAccountant):  # type: ignore[misc]  # Opacus has no types
    """Opacus' accountant, which would take whatever memory its grid asks for, and whatever time its length costs."""

    def _get_domain(self, **about: Any) -> Domain:
        needed: Domain = super()._get_domain(**about)
        if needed.size > _MOST_POINTS:
            raise ValueError(f"a grid of {needed.size:,} points would be needed: PRV can't say")
        # A wider grid is as exact. One of small prime factors is transformed up to ten times as fast; Opacus' powers
        # want it about zero, with one point more above than below.
        half, step = next_fast_len(needed.size // 2 + 1), needed.dt
        return Domain((1 - half) * step, half * step, 2 * half)

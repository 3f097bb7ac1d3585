"""Epsilon from events: the privacy loss distribution (PLD) accountant of dp-accounting.

Every figure is an upper bound (pessimistic discretisation), for adjacency "add or remove one patient".
PLD at an interval of 1e-3 is as tight as at 1e-4 (Doroshenko et al., arXiv 2207.04380).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from dp_accounting.pld import privacy_loss_distribution as pld

from privacy.mechanism import Event

_INTERVAL = 1e-3
# Beyond these the loss distribution grows without bound, and no budget holds it: epsilon counts as infinite.
_LEAST_NOISE = 0.2
_MOST_LOSS = 2000.0

# (noise multiplier, sampling rate, steps in all)
_Steps = tuple[float, float, int]


def epsilon(events: Sequence[Event], delta: float) -> float:
    """The epsilon of all `events` together at `delta`; 0.0 for none.

    `inf` for a noise multiplier under 0.2, or where epsilon would be beyond about 2,000.

    Events of one noise multiplier and sampling rate are merged, so a campaign of a thousand like rounds costs
    as much as one.  Deterministic: the order of the events changes the result by rounding at most.
    Raises `ValueError` unless 0 < delta < 1.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie between 0 and 1, not {delta}")
    if not events:
        return 0.0
    if min(event.noise_multiplier for event in events) < _LEAST_NOISE or _expected_loss(events) > _MOST_LOSS:
        return math.inf
    return float(_composed(_merged(events)).get_epsilon_for_delta(delta))


def rounds_left(
    spent: Sequence[Event], next_round: Event, epsilon_budget: float, delta: float, at_most: int = 1000
) -> int:
    """How many rounds like `next_round` the budget still holds after `spent`, counted up to `at_most`."""

    def fits(rounds: int) -> bool:
        if rounds == 0:
            return True
        more = Event(next_round.noise_multiplier, next_round.sampling_rate, next_round.steps * rounds)
        return epsilon([*spent, more], delta) <= epsilon_budget

    fitting, too_many = 0, 1
    while too_many <= at_most and fits(too_many):
        fitting, too_many = too_many, 2 * too_many
    too_many = min(too_many, at_most + 1)
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        fitting, too_many = (middle, too_many) if fits(middle) else (fitting, middle)
    return fitting


def calibrate(sampling_rate: float, steps: int, epsilon_target: float, delta: float) -> float:
    """The least noise multiplier, to 0.1 %, under which `steps` steps stay within `epsilon_target`.

    The result always meets the target.  Raises `ValueError` for a target that no noise multiplier from
    0.2 to 10,000 meets or that is not above 0.
    """
    if not epsilon_target > 0:
        raise ValueError(f"epsilon_target must be above 0, not {epsilon_target}")
    low, high = _LEAST_NOISE, 2 * _LEAST_NOISE
    while epsilon([Event(high, sampling_rate, steps)], delta) > epsilon_target:
        low, high = high, 2 * high
        if high > 10_000:
            raise ValueError(f"no noise multiplier up to 10,000 keeps {steps} steps within {epsilon_target}")
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        if epsilon([Event(middle, sampling_rate, steps)], delta) <= epsilon_target:
            high = middle
        else:
            low = middle
    return high


def _expected_loss(events: Sequence[Event]) -> float:
    """A bound on the expected privacy loss, by convexity and by chi-square; epsilon is not far above it."""
    return sum(
        event.steps
        * min(
            event.sampling_rate / (2 * event.noise_multiplier**2),
            event.sampling_rate**2 * math.expm1(event.noise_multiplier**-2),
        )
        for event in events
    )


def _merged(events: Sequence[Event]) -> tuple[_Steps, ...]:
    """Steps by (noise, rate) in order of first appearance, so that growing ledgers share a cached prefix."""
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        key = (event.noise_multiplier, event.sampling_rate)
        steps[key] = steps.get(key, 0) + event.steps
    return tuple((noise, rate, count) for (noise, rate), count in steps.items())


@lru_cache(maxsize=16)
def _composed(groups: tuple[_Steps, ...]) -> pld.PrivacyLossDistribution:
    last = _repeated(*groups[-1])
    return last if len(groups) == 1 else _composed(groups[:-1]).compose(last)


@lru_cache(maxsize=16)
def _repeated(noise: float, rate: float, steps: int) -> pld.PrivacyLossDistribution:
    if rate == 1.0:  # without subsampling, n Gaussian steps are exactly one with sigma / sqrt(n)
        return _single(noise / math.sqrt(steps), 1.0)
    single = _single(noise, rate)
    return single if steps == 1 else single.self_compose(steps)


@lru_cache(maxsize=16)
def _single(noise: float, rate: float) -> pld.PrivacyLossDistribution:
    return pld.from_gaussian_mechanism(
        noise, value_discretization_interval=_INTERVAL, sampling_prob=rate, use_connect_dots=True
    )

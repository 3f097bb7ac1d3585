"""Epsilon from events: the privacy loss distribution (PLD) accountant of dp-accounting; Renyi divergences where
distributed trust took part.

Every figure is an upper bound (pessimistic discretisation), for adjacency "add or remove one patient".
PLD at an interval of 1e-3 is as tight as at 1e-4 (Doroshenko et al., arXiv 2207.04380).  A history with any `SHARED`
event is accounted by `privacy.renyi` as a whole: of such an event only its divergences are bounded, and by the same
formula as those of continuous noise.  That says some 10 % more.  A second accountant, of other origin and another
method, checks both: `privacy.second_accountant`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dp_accounting.pld import privacy_loss_distribution as pld

from privacy import renyi
from privacy.mechanism import MECHANISM, MOST_NOISE, SHARED, Event

_INTERVAL = 1e-3
# Beyond these the loss distribution grows without bound, and no budget holds it: epsilon counts as infinite.
_LEAST_NOISE = 0.2
_MOST_LOSS = 2000.0

Steps = tuple[float, float, int]


@dataclass(frozen=True, eq=False)
class Composition:
    """Everything done so far, and its loss distribution.  Immutable: `plus` gives the next.

    `Composition.of(events)` composes a history; `plus` adds one event to it for the price of one convolution,
    however long the history is.  Adding one by one may say more, by its rounding up: 1e-3 after tens of events, 3e-3
    after 500 full-batch ones.
    """

    _losses: pld.PrivacyLossDistribution | None = None  # None where nothing has one, or no budget holds it
    _expected_loss: float = 0.0  # inf where some event's noise is under the least
    _steps: tuple[Steps, ...] = ()
    _shared: bool = False  # whether some event has no loss distribution

    @classmethod
    def of(cls, events: Sequence[Event]) -> Composition:
        """All of `events`: those of one noise multiplier and sampling rate are merged, so a campaign of a
        thousand like rounds costs as much as one.
        """
        expected, steps, shared = sum(map(_expected_loss, events)), merged(events), any_shared(events)
        known = events and not shared and expected <= _MOST_LOSS
        return cls(_composed(steps) if known else None, expected, steps, shared)

    def plus(self, event: Event, times: int = 1) -> Composition:
        """All this, and `event`, `times` times."""
        expected = self._expected_loss + times * _expected_loss(event)
        more = (event.noise_multiplier, event.sampling_rate, times * event.steps)
        steps, shared = _added((*self._steps, more)), self._shared or event.mechanism == SHARED
        if shared or expected > _MOST_LOSS:
            return Composition(None, expected, steps, shared)
        losses = _repeated(*more)
        return Composition(
            losses if self._losses is None else self._losses.compose(losses), expected, steps, shared
        )

    def epsilon(self, delta: float) -> float:
        """The epsilon at `delta`; 0.0 where nothing was done.

        `inf` for a noise multiplier under 0.2, or where epsilon would be beyond about 2,000.
        Raises `ValueError` unless 0 < delta < 1.
        """
        if not 0 < delta < 1:
            raise ValueError(f"delta must lie between 0 and 1, not {delta}")
        if self._expected_loss > _MOST_LOSS:
            return math.inf
        if self._shared:
            return renyi.epsilon(self._steps, delta)
        return 0.0 if self._losses is None else float(self._losses.get_epsilon_for_delta(delta))


NOTHING = Composition()


def epsilon(events: Sequence[Event], delta: float) -> float:
    """The epsilon of all `events` together at `delta`: see `Composition.epsilon`.

    Deterministic: the order of the events changes the result by rounding at most.
    """
    return Composition.of(events).epsilon(delta)


def merged(events: Sequence[Event]) -> tuple[Steps, ...]:
    """(noise multiplier, sampling rate, steps in all), in order of first appearance."""
    return _added([(event.noise_multiplier, event.sampling_rate, event.steps) for event in events])


def any_shared(events: Sequence[Event]) -> bool:
    """Whether distributed trust took part, so that only Renyi divergences bound the whole."""
    return any(event.mechanism == SHARED for event in events)


def beyond_all_budgets(events: Sequence[Event]) -> bool:
    """Whether `epsilon(events)` counts as infinite: an event's noise is under 0.2, or the loss beyond 2,000."""
    return sum(map(_expected_loss, events)) > _MOST_LOSS


def rounds_left(
    spent: Composition | Sequence[Event],
    next_round: Event,
    epsilon_budget: float,
    delta: float,
    at_most: int = 1000,
) -> int:
    """How many rounds like `next_round` the budget still holds after `spent`, counted up to `at_most`."""
    so_far = spent if isinstance(spent, Composition) else Composition.of(spent)

    def fits(rounds: int) -> bool:
        return so_far.plus(next_round, rounds).epsilon(delta) <= epsilon_budget

    return most_that_fit(fits, at_most)


def most_that_fit(fits: Callable[[int], bool], at_most: int) -> int:
    """The largest n <= at_most for which `fits(n)`, which must be monotone; 0 where not even 1 fits."""
    fitting, too_many = 0, 1
    while too_many <= at_most and fits(too_many):
        fitting, too_many = too_many, 2 * too_many
    too_many = min(too_many, at_most + 1)
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        fitting, too_many = (middle, too_many) if fits(middle) else (fitting, middle)
    return fitting


def calibrate(
    sampling_rate: float,
    steps: int,
    epsilon_target: float,
    delta: float,
    spent: Composition = NOTHING,
    rounds: int = 1,
    mechanism: str = MECHANISM,
) -> float:
    """The least noise multiplier, to 0.1 %, under which `rounds` of `steps` steps after `spent` stay within the target.

    The result always meets the target.  Raises `ValueError` for a target that is not above 0, or that no noise
    multiplier from 0.2 to 10,000 meets.
    """
    if not epsilon_target > 0:
        raise ValueError(f"epsilon_target must be above 0, not {epsilon_target}")

    def meets(noise: float) -> bool:
        event = Event(noise, sampling_rate, steps, mechanism)
        return spent.plus(event, rounds).epsilon(delta) <= epsilon_target

    low, high = _LEAST_NOISE, 2 * _LEAST_NOISE
    while not meets(high):
        low, high = high, 2 * high
        if high > MOST_NOISE:
            raise ValueError(
                f"no noise multiplier up to {MOST_NOISE:,.0f} keeps {rounds} rounds of {steps} steps within {epsilon_target}"
            )
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high


def _expected_loss(event: Event) -> float:
    """A bound on the expected privacy loss, by convexity and by chi-square; epsilon is not far above it."""
    noise, rate = event.noise_multiplier, event.sampling_rate
    if noise < _LEAST_NOISE:
        return math.inf
    return event.steps * min(rate / (2 * noise**2), rate**2 * math.expm1(noise**-2))


def _added(parts: Sequence[Steps]) -> tuple[Steps, ...]:
    """Parts of one noise multiplier and rate as one, in order of first appearance."""
    steps: dict[tuple[float, float], int] = {}
    for noise, rate, count in parts:
        steps[noise, rate] = steps.get((noise, rate), 0) + count
    return tuple((noise, rate, count) for (noise, rate), count in steps.items())


@lru_cache(maxsize=16)
def _composed(groups: tuple[Steps, ...]) -> pld.PrivacyLossDistribution:
    losses = _repeated(*groups[0])
    for group in groups[1:]:
        losses = losses.compose(_repeated(*group))
    return losses


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

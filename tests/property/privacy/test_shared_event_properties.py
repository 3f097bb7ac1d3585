"""Histories in which distributed trust took part: their epsilon by Renyi divergences, whatever the events."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting import Composition, epsilon
from privacy.audit.accounting import apart
from privacy.mechanism import MECHANISM, SHARED, Event
from privacy.secagg.accounting import epsilon as shared_epsilon
from privacy.secagg.grid import Grid
from privacy.secagg.shared_noise import LEAST_SIGMA, SharedNoise
from privacy.second_accountant import epsilon as second_epsilon

DELTA = 1e-5
GRID = 0.005  # how much PLD may say too much, by rounding up

_events = st.builds(
    Event,
    noise_multiplier=st.sampled_from([0.5, 0.8, 1.0, 2.0, 6.0]),
    sampling_rate=st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    steps=st.integers(1, 5),
    mechanism=st.sampled_from([MECHANISM, SHARED]),
)
_histories = st.lists(_events, min_size=1, max_size=4)
_with_shared = st.tuples(_histories, _events).map(lambda both: [*both[0], replace(both[1], mechanism=SHARED)])


@settings(max_examples=25)
@given(_with_shared)
def test_no_less_than_the_loss_distribution_says_of_continuous_noise(events: list[Event]) -> None:
    """Catches an event that is dropped, or merged with another of other noise: RDP is never under the tight figure for
    the same noise, of all events, nor so of those of either kind alone.
    """
    found = epsilon(events, DELTA)
    continuous = [replace(event, mechanism=MECHANISM) for event in events]
    assert found >= epsilon(continuous, DELTA) - GRID
    for kind in (MECHANISM, SHARED):
        assert found >= epsilon([event for event in events if event.mechanism == kind], DELTA) - GRID


@settings(max_examples=50)
@given(_with_shared, _events)
def test_one_event_more_never_costs_less(events: list[Event], more: Event) -> None:
    """Catches a total that falls as rounds are added, by which a budget would never end; in either order of events."""
    before = epsilon(events, DELTA)
    assert Composition.of(events).plus(more).epsilon(DELTA) >= before
    assert epsilon([more, *events], DELTA) >= before


@settings(max_examples=50)
@given(_with_shared)
def test_one_by_one_composes_as_all_at_once(events: list[Event]) -> None:
    """Catches a shared event that is forgotten as the history goes on: a composition must not go back to PLD."""
    so_far = Composition()
    for event in events:
        so_far = so_far.plus(event)
    assert abs(so_far.epsilon(DELTA) - epsilon(events, DELTA)) < 1e-9


@settings(max_examples=25)
@given(_with_shared)
def test_the_second_accountant_says_the_same(events: list[Event]) -> None:
    """Catches a slip in the formula of either: Opacus' divergences of whole orders are other people's code."""
    assert not apart(epsilon(events, DELTA), second_epsilon(events, DELTA))


@settings(max_examples=50)
@given(
    st.integers(LEAST_SIGMA, 2000),
    st.integers(1, 60),
    st.integers(1, 10**9),
    st.sampled_from([0.01, 0.2, 1.0]),
)
def test_an_event_costs_what_the_shares_cost(sigma: int, honest: int, size: int, rate: float) -> None:
    """Catches an event that says less than the shares cost in so many coordinates: from `LEAST_SIGMA` on the event's
    noise multiplier must be all that counts.
    """
    noise = SharedNoise(Grid(2.0**-6, 1.0, size, 10), sigma, honest)
    if not 0.2 <= noise.multiplier <= 1e4:
        return
    event = Event(noise.multiplier, rate, 1, SHARED)
    charged = epsilon([event], DELTA)
    assert charged >= shared_epsilon(noise, rate, 1, DELTA) - 1e-12

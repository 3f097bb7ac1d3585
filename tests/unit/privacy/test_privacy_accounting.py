"""Epsilon against figures measured with other accountants, and the budget's arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from opacus.accountants import PRVAccountant

from privacy.accounting import Composition, calibrate, epsilon, merged, rounds_left
from privacy.mechanism import SHARED, Event
from privacy.second_accountant import AGREEMENT
from privacy.second_accountant import epsilon as second_epsilon

DELTA = 1e-5


@pytest.mark.parametrize(
    ("rate", "sigma", "steps", "expected"),
    [(0.05, 1.0, 2000, 16.489), (0.05, 1.0, 1000, 10.987), (0.05, 2.0, 2000, 5.472), (1.0, 4.0, 1, 0.926)],
)
def test_epsilon_agrees_with_the_measured_table(
    rate: float, sigma: float, steps: int, expected: float
) -> None:
    """Catches a wrong adjacency, a wrong unit of sigma, or a looser accountant (RDP is off by 8 %)."""
    assert epsilon([Event(sigma, rate, steps)], DELTA) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("steps", "target", "expected"), [(200, 8.0, 0.787), (200, 1.0, 2.839), (2000, 3.0, 3.221)]
)
def test_calibrated_noise_agrees_and_meets_its_target(steps: int, target: float, expected: float) -> None:
    """Catches a search that stops on the unsafe side of the target."""
    sigma = calibrate(0.05, steps, target, DELTA)
    assert sigma == pytest.approx(expected, rel=0.003)
    assert epsilon([Event(sigma, 0.05, steps)], DELTA) <= target


def test_unsubsampled_steps_compose_as_one_gaussian() -> None:
    """Catches a wrong shortcut for rate 1: sixteen steps at sigma 16 are one at sigma 4."""
    assert epsilon([Event(16.0, 1.0, 16)], DELTA) == pytest.approx(
        epsilon([Event(4.0, 1.0, 1)], DELTA), abs=1e-6
    )


def test_nothing_spent_costs_nothing() -> None:
    """Catches an accountant that charges an empty ledger."""
    assert epsilon([], DELTA) == 0.0


@pytest.mark.parametrize("event", [Event(0.0, 0.1, 1), Event(0.1, 0.1, 1), Event(0.3, 1.0, 10**6)])
def test_hardly_any_noise_is_no_privacy_at_all(event: Event) -> None:
    """Catches a plan that would crash or stall the accountant instead of being refused by every budget."""
    assert epsilon([event], DELTA) == math.inf


def test_like_events_merge_and_unlike_ones_compose() -> None:
    """Catches epsilons that are added up, or events that are dropped when merged."""
    whole = epsilon([Event(1.0, 0.05, 1000), Event(2.0, 0.05, 500)], DELTA)
    parts = [Event(1.0, 0.05, 400), Event(2.0, 0.05, 500), Event(1.0, 0.05, 600)]
    assert epsilon(parts, DELTA) == pytest.approx(whole, abs=1e-6)
    alone = [epsilon([event], DELTA) for event in (Event(1.0, 0.05, 1000), Event(2.0, 0.05, 500))]
    assert max(alone) < whole < sum(alone)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, float("nan")])
def test_a_senseless_delta_is_refused(delta: float) -> None:
    """Catches an epsilon computed for a delta that means nothing."""
    with pytest.raises(ValueError, match="delta"):
        epsilon([Event(1.0, 0.1, 1)], delta)


def test_rounds_left_is_the_last_count_that_fits() -> None:
    """Catches an off-by-one in the budget: n rounds fit, n + 1 do not."""
    spent, each = [Event(1.0, 0.05, 40)], Event(1.2, 0.05, 40)
    left = rounds_left(spent, each, 8.0, DELTA)
    assert left > 1
    assert epsilon([*spent, *[each] * left], DELTA) <= 8.0 < epsilon([*spent, *[each] * (left + 1)], DELTA)


@pytest.mark.parametrize(
    ("budget", "at_most", "expected"), [(0.01, 1000, 0), (8.0, 3, 3), (8.0, 1, 1), (8.0, 0, 0)]
)
def test_rounds_left_at_its_ends(budget: float, at_most: int, expected: int) -> None:
    """Catches a search that runs past its ends."""
    assert rounds_left([], Event(4.0, 0.05, 10), budget, DELTA, at_most) == expected


@pytest.mark.parametrize("target", [0.0, -1.0, float("nan")])
def test_a_senseless_target_is_refused(target: float) -> None:
    """Catches a search without an end."""
    with pytest.raises(ValueError, match="epsilon_target"):
        calibrate(0.1, 10, target, DELTA)


MIXED = [Event(0.8 + 0.05 * n, 0.02 + 0.004 * n, 10 + n) for n in range(15)]


def test_one_by_one_composes_as_all_at_once() -> None:
    """Catches a cached history that drifts from the events: fifteen unlike rounds, in either order."""
    at_once = epsilon(MIXED, DELTA)
    for order in (MIXED, MIXED[::-1]):
        so_far = Composition()
        for event in order:
            so_far = so_far.plus(event)
        assert so_far.epsilon(DELTA) == pytest.approx(at_once, abs=1e-3)
    assert Composition.of(MIXED[:-1]).plus(MIXED[-1]).epsilon(DELTA) == pytest.approx(at_once, abs=1e-3)


def test_a_composition_is_left_as_it_was() -> None:
    """Catches a shared history: asking what one more round would cost must not spend it."""
    so_far = Composition.of(MIXED[:2])
    before = so_far.epsilon(DELTA)
    assert so_far.plus(MIXED[2]).epsilon(DELTA) > before
    assert so_far.epsilon(DELTA) == before


def test_an_infinite_composition_stays_so() -> None:
    """Catches an event without noise that is forgotten once others follow."""
    so_far = Composition.of(MIXED[:1]).plus(Event(0.0, 0.1, 1)).plus(MIXED[1])
    assert so_far.epsilon(DELTA) == math.inf
    assert Composition().plus(Event(0.1, 0.1, 1)).plus(MIXED[1]).epsilon(DELTA) == math.inf


def test_many_unlike_rounds_compose() -> None:
    """Catches an error that grows with the history: forty unlike Gaussians are one, exactly."""
    events = [Event(20.0 + n, 1.0, 1) for n in range(40)]
    together = sum(event.noise_multiplier**-2 for event in events) ** -0.5
    assert epsilon(events, DELTA) == pytest.approx(epsilon([Event(together, 1.0, 1)], DELTA), abs=0.005)


@pytest.mark.parametrize(
    "events",
    [
        [Event(1.0, 0.05, 2000)],
        [Event(1.0, 0.05, 1000)],
        [Event(2.0, 0.05, 2000)],
        [Event(4.0, 1.0, 1)],
        [Event(0.3, 0.1, 10)],
        [Event(4.0, 1.0, 3), Event(1.0, 0.1, 40)],
        MIXED,
    ],
    ids=["16.489", "10.987", "5.472", "0.926", "35.66", "evaluations-and-rounds", "fifteen-unlike-rounds"],
)
def test_the_two_accountants_agree(events: list[Event]) -> None:
    """Catches a slip in either: other code and another method must say the same to 0.02, and PRV's upper bound
    (at most 0.01 above the truth) is never under PLD's figure by more than its grid.
    """
    first, second = epsilon(events, DELTA), second_epsilon(events, DELTA)
    assert abs(first - second) <= AGREEMENT
    assert second > first - 1e-3


@pytest.mark.parametrize("events", [[Event(1.0, 0.05, 9)], [Event(1.0, 0.05, 10)], MIXED])
def test_the_second_accountants_grid_moves_no_epsilon(events: list[Event]) -> None:
    """Catches a grid widened so that Opacus' powers, which treat odd and even ones differently, fold it wrongly."""
    opacus = PRVAccountant()
    opacus.history = list(merged(events))
    assert second_epsilon(events, DELTA) == pytest.approx(opacus.get_epsilon(DELTA), abs=1e-5)


@pytest.mark.parametrize("events", [[], [Event(0.1, 0.1, 1)], [Event(0.5, 0.5, 10_000)]])
def test_the_second_accountant_ends_where_the_first_does(events: list[Event]) -> None:
    """Catches a check that hangs or fails on what the first accountant calls nothing, or infinite."""
    assert second_epsilon(events, DELTA) == epsilon(events, DELTA)
    with pytest.raises(ValueError, match="delta"):
        second_epsilon(events, 0.0)


SHARED_ROUND = Event(1.0, 0.05, 1, SHARED)


def test_a_history_with_a_shared_event_costs_what_its_divergences_say() -> None:
    """Catches a shared round that is charged by the loss distribution of continuous noise, which nothing proves for it:
    2,000 steps cost 16.489 by that, and by divergences of whole orders 13 % more.
    """
    found = epsilon([Event(1.0, 0.05, 1999), SHARED_ROUND], DELTA)
    assert found == pytest.approx(18.70, abs=0.02)
    assert second_epsilon([Event(1.0, 0.05, 1999), SHARED_ROUND], DELTA) == pytest.approx(found, abs=1e-6)


def test_noise_for_shared_rounds_meets_its_target_by_their_own_accounting() -> None:
    """Catches a search that finds a shared round's noise by PLD, and so too little."""
    sigma = calibrate(0.05, 1, 2.0, DELTA, rounds=100, mechanism=SHARED)
    assert epsilon([replace(SHARED_ROUND, noise_multiplier=sigma)] * 100, DELTA) <= 2.0
    assert sigma > calibrate(0.05, 1, 2.0, DELTA, rounds=100)


@pytest.mark.parametrize("event", [Event(0.1, 0.1, 1, SHARED), Event(0.3, 1.0, 10**6, SHARED)])
def test_hardly_any_shared_noise_is_no_privacy_either(event: Event) -> None:
    """Catches a shared event that slips past the bound beyond which every epsilon counts as infinite."""
    assert epsilon([event], DELTA) == second_epsilon([event], DELTA) == math.inf

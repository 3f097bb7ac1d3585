"""Budgets, on both databases: in all, for each campaign, for each day; refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from privacy import accounting
from privacy.codes import Refusal
from privacy.errors import BudgetError
from privacy.ledger.store import Ledger
from privacy.plan import Plan
from privacy.policy import Policy
from tests.privacy_cases import CODE, MECHANISM, PLAN, POLICY, Hospital, kinds, round_of

DELTA = POLICY.delta
START = datetime(2030, 1, 1, 12, tzinfo=UTC)


def price(rounds: int) -> float:
    """Epsilon of so many rounds like PLAN's, with room for rounding and not for a round more."""
    return accounting.epsilon([PLAN.event()] * rounds, DELTA) + 1e-2


def pay(ledger: Ledger, plan: Plan, policy: Policy) -> None:
    ledger.spend(ledger.reserve(plan, policy, CODE), {"scale/roi": b"%d" % plan.round})


def test_a_budget_too_small_refuses_before_it_writes(north: Hospital) -> None:
    """Catches a ledger that overdraws, or that debits and then refuses."""
    ledger = north.ledger()
    policy = replace(POLICY, epsilon_budget=price(2))
    assert ledger.rounds_left(PLAN, policy) == 2
    for number in (1, 2):
        pay(ledger, round_of(number), policy)
    before = kinds(ledger)
    assert ledger.rounds_left(PLAN, policy) == 0
    with pytest.raises(BudgetError, match="0 such rounds are left") as caught:
        ledger.reserve(round_of(3), policy, CODE)
    assert caught.value.code is Refusal.BUDGET_EXHAUSTED
    assert caught.value.rounds_left == 0
    assert kinds(ledger) == before
    assert ledger.epsilon(DELTA) <= price(2)


def test_open_reservations_hold_the_budget_too(north: Hospital) -> None:
    """Catches two reservations that each fit and together do not."""
    policy = replace(POLICY, epsilon_budget=price(1))
    ledger = north.ledger()
    ledger.reserve(PLAN, policy, CODE)
    with pytest.raises(BudgetError):
        north.ledger().reserve(round_of(2), policy, CODE)


def test_campaigns_draw_on_one_budget(north: Hospital) -> None:
    """Catches a total that begins anew with each campaign."""
    policy = replace(POLICY, epsilon_budget=price(3), epsilon_per_campaign=price(2))
    ledger = north.ledger()
    for number in (1, 2):
        pay(ledger, round_of(number), policy)
    with pytest.raises(BudgetError, match="for campaign spring"):
        ledger.reserve(round_of(3), policy, CODE)
    assert ledger.rounds_left(round_of(3), policy) == 0
    autumn = replace(PLAN, campaign="autumn")
    assert ledger.rounds_left(autumn, policy) == 1
    pay(ledger, autumn, policy)
    with pytest.raises(BudgetError, match="in all"):
        ledger.reserve(replace(autumn, round=2), policy, CODE)
    assert [limit.scope for limit in ledger.limits(policy)] == [
        "in all",
        "for campaign spring",
        "for campaign autumn",
    ]


def test_a_day_has_its_own_limit(north: Hospital) -> None:
    """Catches a daily limit that never opens again, that a clock set back opens, or that lifts the total."""
    now = [START]
    ledger = Ledger(north.place, north.key, lambda: now[0])
    policy = replace(POLICY, epsilon_budget=price(3), epsilon_per_day=price(2))
    for number in (1, 2):
        pay(ledger, round_of(number), policy)
    assert ledger.rounds_left(PLAN, policy) == 0
    for later in (timedelta(hours=11), timedelta(days=-1)):
        now[0] = START + later
        with pytest.raises(BudgetError, match="on 2030-01-01"):
            ledger.reserve(round_of(3), policy, CODE)
    now[0] = START + timedelta(hours=12)
    assert ledger.rounds_left(PLAN, policy) == 1
    pay(ledger, round_of(3), policy)
    with pytest.raises(BudgetError, match="in all"):
        ledger.reserve(round_of(4), policy, CODE)


@pytest.mark.parametrize("limit", ["epsilon_budget", "epsilon_per_campaign", "epsilon_per_day"])
def test_a_voided_round_counts_against_every_limit(north: Hospital, limit: str) -> None:
    """Catches rounds that fail without end because failing is free: who asked sees each failure."""
    changed: dict[str, Any] = {limit: price(1)}
    policy = replace(POLICY, **changed)
    ledger = north.ledger()
    ledger.void(ledger.reserve(PLAN, policy, CODE))
    with pytest.raises(BudgetError):
        ledger.reserve(PLAN, policy, CODE)


def test_the_kept_composition_is_the_ledgers(north: Hospital) -> None:
    """Catches a cache that forgets a void, another process' round, or another mechanism."""
    ledger, other = north.ledger(), north.ledger()
    loud = replace(round_of(2), mechanism=replace(MECHANISM, noise_multiplier=2.0, steps=5))
    pay(ledger, PLAN, POLICY)
    kept = ledger.reserve(loud, POLICY, CODE)
    pay(other, round_of(3), POLICY)
    for change in (lambda: None, lambda: ledger.void(kept), lambda: pay(other, loud, POLICY)):
        change()
        truth = accounting.epsilon(other.summary().events, DELTA)
        for one in (ledger, other, north.ledger()):
            assert one.epsilon(DELTA) == pytest.approx(truth, abs=1e-3)

"""The ledger's rules: order, budget, replay, receipts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from privacy import accounting, canonical, keys
from privacy.codes import Refusal
from privacy.errors import BudgetError, LedgerError, PlanRefused, RoundConflict, SignatureInvalid, WireError
from privacy.ledger.store import Ledger
from privacy.receipt import ACCEPTED, Receipt
from tests.privacy_cases import CODE, MECHANISM, PLAN, POLICY, Hospital, hospital, round_of

RELEASES = {"scale/roi": b"one", "scale/wsi": b"two"}
OTHER_PLAN = replace(PLAN, learning_rate=0.02)


@pytest.fixture
def north(tmp_path: Path) -> Hospital:
    return hospital(tmp_path)


def kinds(ledger: Ledger) -> list[str]:
    return [entry.kind for entry in ledger.entries()]


def test_a_round_is_charged_once_from_its_reservation_on(north: Hospital) -> None:
    """Catches a round that is free until spent, or charged again when spent."""
    ledger = north.ledger()
    assert ledger.epsilon(1e-5) == 0.0
    reservation = ledger.reserve(PLAN, POLICY, CODE)
    price = accounting.epsilon([PLAN.event()], 1e-5)
    assert ledger.epsilon(1e-5) == price
    ledger.spend(reservation, RELEASES)
    assert ledger.epsilon(1e-5) == price
    assert kinds(ledger) == ["policy", "reservation", "spend"]
    assert (ledger.summary().spent, ledger.summary().reserved) == (1, 0)


def test_the_same_round_gives_the_same_bytes_and_no_second_charge(north: Hospital) -> None:
    """Catches a second release of one round, after a restart too."""
    ledger = north.ledger()
    assert ledger.sent("spring", 1, PLAN.hash) is None
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), RELEASES)
    for again in (ledger, north.ledger()):
        assert again.sent("spring", 1, PLAN.hash) == RELEASES
        with pytest.raises(RoundConflict):
            again.reserve(PLAN, POLICY, CODE)
    assert len(ledger.summary().events) == 1


def test_the_same_round_under_another_plan_is_refused(north: Hospital) -> None:
    """Catches a coordinator that asks for one round twice: two releases for one price."""
    ledger = north.ledger()
    reservation = ledger.reserve(PLAN, POLICY, CODE)
    with pytest.raises(RoundConflict, match="being trained"):
        ledger.reserve(OTHER_PLAN, POLICY, CODE)
    ledger.spend(reservation, RELEASES)
    for ask in (
        lambda: ledger.sent("spring", 1, OTHER_PLAN.hash),
        lambda: ledger.reserve(OTHER_PLAN, POLICY, CODE),
    ):
        with pytest.raises(RoundConflict) as caught:
            ask()
        assert caught.value.code is Refusal.ROUND_CONFLICT
    ledger.reserve(replace(OTHER_PLAN, campaign="autumn"), POLICY, CODE)


def test_a_budget_too_small_refuses_before_it_writes(north: Hospital) -> None:
    """Catches a ledger that overdraws, or that debits and then refuses."""
    ledger = north.ledger()
    price = accounting.epsilon([PLAN.event()] * 2, 1e-5)
    policy = replace(POLICY, epsilon_budget=price)
    assert ledger.rounds_left(PLAN, policy) == 2
    for number in (1, 2):
        ledger.spend(ledger.reserve(round_of(number), policy, CODE), RELEASES)
    before = kinds(ledger)
    assert ledger.rounds_left(PLAN, policy) == 0
    with pytest.raises(BudgetError, match="0 such rounds are left") as caught:
        ledger.reserve(round_of(3), policy, CODE)
    assert caught.value.code is Refusal.BUDGET_EXHAUSTED
    assert caught.value.rounds_left == 0
    assert kinds(ledger) == before
    assert ledger.epsilon(1e-5) <= price


def test_open_reservations_hold_the_budget_too(north: Hospital) -> None:
    """Catches two reservations that each fit and together do not."""
    policy = replace(POLICY, epsilon_budget=accounting.epsilon([PLAN.event()], 1e-5))
    ledger = north.ledger()
    ledger.reserve(PLAN, policy, CODE)
    with pytest.raises(BudgetError):
        north.ledger().reserve(round_of(2), policy, CODE)


def test_no_way_to_a_reservation_leads_past_the_policy(north: Hospital) -> None:
    """Catches an agent that forgets to ask the policy first."""
    weak = replace(PLAN, mechanism=replace(MECHANISM, noise_multiplier=0.1))
    with pytest.raises(PlanRefused) as caught:
        north.ledger().reserve(weak, POLICY, CODE)
    assert caught.value.code is Refusal.POLICY_NOISE
    assert kinds(north.ledger()) == []


def test_a_failed_round_is_given_back_once(north: Hospital) -> None:
    """Catches a budget eaten by rounds that never sent anything, and a void after something was sent."""
    ledger = north.ledger()
    failed = ledger.reserve(PLAN, POLICY, CODE)
    ledger.void(failed)
    assert ledger.epsilon(1e-5) == 0.0
    for misuse in (lambda: ledger.void(failed), lambda: ledger.spend(failed, RELEASES)):
        with pytest.raises(LedgerError, match="not open"):
            misuse()
    second = ledger.reserve(PLAN, POLICY, CODE)
    ledger.spend(second, RELEASES)
    for misuse in (lambda: ledger.void(second), lambda: ledger.spend(second, RELEASES)):
        with pytest.raises(LedgerError, match="not open"):
            misuse()
    assert ledger.void_unspent() == 0
    assert ledger.sent("spring", 1, PLAN.hash) == RELEASES


def test_an_agent_started_over_another_can_not_lead_to_an_unpaid_release(north: Hospital) -> None:
    """Catches two agents on one ledger: the second voids, so the first may not send."""
    first, second = north.ledger(), north.ledger()
    reservation = first.reserve(PLAN, POLICY, CODE)
    assert second.void_unspent() == 1
    with pytest.raises(LedgerError, match="not open"):
        first.spend(reservation, RELEASES)
    assert first.sent("spring", 1, PLAN.hash) is None


def test_nothing_to_send_is_not_a_spend(north: Hospital) -> None:
    """Catches a round closed as answered when there is no answer to repeat."""
    ledger = north.ledger()
    reservation = ledger.reserve(PLAN, POLICY, CODE)
    with pytest.raises(LedgerError, match="void"):
        ledger.spend(reservation, {})
    ledger.void(reservation)


def test_policies_are_recorded_when_they_change(north: Hospital) -> None:
    """Catches a limit that was raised without a trace."""
    ledger = north.ledger()
    ledger.reserve(PLAN, POLICY, CODE)
    ledger.reserve(round_of(2), POLICY, CODE)
    raised = replace(POLICY, epsilon_budget=9.0)
    ledger.reserve(round_of(3), raised, CODE)
    assert kinds(ledger) == ["policy", "reservation", "reservation", "policy", "reservation"]
    assert ledger.entries()[3].body["policy"] == raised.to_dict()
    assert ledger.entries()[4].body["code"] == CODE


def test_refusals_are_recorded_and_cost_nothing(north: Hospital) -> None:
    """Catches a refusal that leaves no trace, or is charged."""
    ledger = north.ledger()
    ledger.refuse(Refusal.PLAN_UNSIGNED, None)
    ledger.refuse(Refusal.POLICY_NOISE, PLAN.hash)
    assert [entry.body["code"] for entry in ledger.entries()] == ["plan-unsigned", "policy-noise"]
    assert (ledger.summary().refused, ledger.epsilon(1e-5)) == (2, 0.0)


def receipt(**changes: object) -> Receipt:
    hashes = {expert: canonical.digest(data) for expert, data in RELEASES.items()}
    good = Receipt("north", "spring", 1, PLAN.hash, hashes, dict.fromkeys(RELEASES, ACCEPTED))
    return replace(good, **changes)  # type: ignore[arg-type]


def test_a_receipt_is_kept_once(north: Hospital) -> None:
    """Catches a coordinator's proof that is lost, or written again at every retry."""
    coordinator = keys.generate(north.folder / "coordinator")
    ledger = north.ledger()
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), RELEASES)
    for _ in range(2):
        ledger.receipt(receipt().sign(coordinator), coordinator.public)
    assert kinds(ledger) == ["policy", "reservation", "spend", "receipt"]
    kept = ledger.entries()[-1].body
    assert Receipt.open(bytes.fromhex(kept["signed"]), coordinator.public) == receipt()


Spoil = Callable[[keys.PrivateKey, keys.PrivateKey], bytes]


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda key, stranger: receipt().sign(stranger), SignatureInvalid),
        (lambda key, stranger: receipt().sign(key)[:-1], SignatureInvalid),
        (lambda key, stranger: b"", SignatureInvalid),
        (lambda key, stranger: receipt(round=2).sign(key), LedgerError),
        (lambda key, stranger: receipt(releases=dict.fromkeys(RELEASES, PLAN.hash)).sign(key), LedgerError),
    ],
    ids=["stranger", "cut", "empty", "unsent-round", "other-bytes"],
)
def test_a_false_receipt_is_refused(north: Hospital, spoil: Spoil, error: type[Exception]) -> None:
    """Catches a ledger that acknowledges what it did not send."""
    coordinator, stranger = keys.generate(north.folder / "c"), keys.generate(north.folder / "s")
    ledger = north.ledger()
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), RELEASES)
    with pytest.raises(error):
        ledger.receipt(spoil(coordinator, stranger), coordinator.public)
    assert kinds(ledger) == ["policy", "reservation", "spend"]


def test_a_receipt_with_an_outcome_out_of_the_set_is_refused() -> None:
    """Catches free text from the coordinator in a hospital's ledger."""
    with pytest.raises(WireError):
        receipt(outcomes=dict.fromkeys(RELEASES, "thank you"))
    with pytest.raises(WireError):
        receipt(outcomes={})

"""The ledger's rules, on both databases: order, replay, what left, withdrawals, keys, self-tests."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from privacy import accounting, canonical, keys
from privacy.codes import Refusal
from privacy.egress_record import EgressRecord
from privacy.errors import LedgerError, PlanRefused, RoundConflict
from privacy.ledger.account import Installed
from privacy.ledger.database import Database
from privacy.ledger.reading import read
from privacy.ledger.store import Ledger
from tests.privacy_cases import ASKED, CODE, MECHANISM, PLAN, POLICY, RELEASES, Hospital, kinds, round_of

COUNTED = {"counts": b"counts"}
OTHER_PLAN = replace(PLAN, learning_rate=0.02)
OFFERING = replace(POLICY, minimum_evaluation_noise=2.0)


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
    with pytest.raises(RoundConflict, match="at work already"):
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


def test_no_way_to_a_reservation_leads_past_the_policy(north: Hospital) -> None:
    """Catches an agent that forgets to ask the policy first."""
    weak = replace(PLAN, mechanism=replace(MECHANISM, noise_multiplier=0.1))
    with pytest.raises(PlanRefused) as caught:
        north.ledger().reserve(weak, POLICY, CODE)
    assert caught.value.code is Refusal.POLICY_NOISE
    assert kinds(north.ledger()) == []


def test_a_failed_round_may_be_reserved_again_and_stays_charged(north: Hospital) -> None:
    """Catches a failure that costs nothing, a round that is barred for good, and a void after something was sent."""
    ledger = north.ledger()
    failed = ledger.reserve(PLAN, POLICY, CODE)
    ledger.void(failed)
    assert ledger.summary().events == (PLAN.event(),)
    for misuse in (lambda: ledger.void(failed), lambda: ledger.spend(failed, RELEASES)):
        with pytest.raises(LedgerError, match="not open"):
            misuse()
    second = ledger.reserve(PLAN, POLICY, CODE)
    ledger.spend(second, RELEASES)
    assert ledger.summary().events == (PLAN.event(),) * 2
    for misuse in (lambda: ledger.void(second), lambda: ledger.spend(second, RELEASES)):
        with pytest.raises(LedgerError, match="not open"):
            misuse()
    assert ledger.void_unspent() == 0
    assert ledger.sent("spring", 1, PLAN.hash) == RELEASES


def test_an_interrupted_round_is_kept_for_the_policy_and_code_that_it_was_reserved_by(
    north: Hospital,
) -> None:
    """Catches a reservation that is voided under a round which goes on, and one kept where it may not go on."""
    ledger = north.ledger()
    first, second = (ledger.reserve(round_of(number), POLICY, CODE) for number in (1, 2))
    assert ledger.unspent(POLICY, CODE) == (first, second)
    assert ledger.void_unspent(keep=[second]) == 1
    assert north.ledger().unspent(POLICY, CODE) == (second,)
    assert ledger.unspent(replace(POLICY, maximum_steps=POLICY.maximum_steps + 1), CODE) == ()
    assert ledger.unspent(POLICY, "f" * 64) == ()
    ledger.selftest(False, CODE, ["noise"])
    assert ledger.unspent(POLICY, CODE) == ()
    ledger.selftest(True, CODE, [])
    ledger.spend(second, RELEASES)
    assert ledger.unspent(POLICY, CODE) == ()
    assert kinds(ledger).count("void") == 1


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


def record(name: str, data: bytes, epsilon: float = 1.5) -> EgressRecord:
    return EgressRecord(name, canonical.digest(data), len(data), epsilon, CODE)


def test_every_reply_is_one_entry_that_says_what_left(north: Hospital) -> None:
    """Catches an egress log that can be edited apart from the chain, or that loses hash, size, price, receiver."""
    ledger = north.ledger()
    ledger.log_egress([record("description", b"north", 0.0)])
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), RELEASES)
    left = [record(f"release/{expert}", data) for expert, data in RELEASES.items()]
    ledger.log_egress(left)
    ledger.log_egress(left)  # the same round, asked again
    ledger.log_egress([record("code", b"busy", math.inf)])
    ledger.log_egress([])
    assert kinds(ledger) == ["release", "policy", "reservation", "spend", "release", "release", "release"]
    parts = [("description", 0.0), *[(r.name, 1.5) for r in left + left], ("code", math.inf)]
    assert [(r.name, r.epsilon) for _, r in north.ledger().egress()] == parts
    assert [r for _, r in ledger.egress()][1:3] == left
    assert ledger.summary().replies == 4


@pytest.mark.parametrize(
    "unpaid",
    [record("release/scale/roi", b"two"), record("release/task/vqa", b"one")],
    ids=["bytes", "expert"],
)
def test_a_release_that_nothing_paid_for_can_not_be_logged(north: Hospital, unpaid: EgressRecord) -> None:
    """Catches a reply that leaves around the reservation."""
    ledger = north.ledger()
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), RELEASES)
    with pytest.raises(LedgerError, match="not paid for"):
        ledger.log_egress([unpaid])
    assert kinds(ledger) == ["policy", "reservation", "spend"]


def test_entries_hold_all_that_an_auditor_needs(north: Hospital) -> None:
    """Catches a field that is lost on the way to the entry, and an epsilon where an event should stand."""
    ledger = north.ledger()
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), RELEASES)
    policy, reservation, spend = (entry.body for entry in ledger.entries())
    assert policy == {"policy": POLICY.to_dict()}
    assert reservation == {
        "campaign": "spring",
        "round": 1,
        "stage": "sft",
        "experts": ["scale/roi", "scale/wsi"],
        "base": PLAN.base_hash,
        "plan": PLAN.hash,
        "policy": POLICY.hash,
        "code": CODE,
        "event": PLAN.event().to_dict(),
    }
    digests = {name: {"sha256": canonical.digest(data), "bytes": 3} for name, data in RELEASES.items()}
    assert spend == {"reservation": ledger.entries()[1].hash, "releases": digests}
    assert {entry.format for entry in ledger.entries()} == {1}


def test_withdrawals_are_counted_without_identity(north: Hospital) -> None:
    """Catches a withdrawal that leaves no trace, is recorded twice, or names somebody."""
    ledger = north.ledger()
    for patients in (0, 1, 1, 3):
        ledger.withdrawn(patients)
    bodies = [entry.body for entry in ledger.entries()]
    assert [body["withdrawn"] for body in bodies] == [1, 3]
    assert all(set(body) == {"withdrawn", "salt"} for body in bodies)
    assert bodies[0]["salt"] != bodies[1]["salt"], "a hash that leaves would tell a small number"
    assert north.ledger().summary().withdrawn == 3


def test_selftests_are_recorded(north: Hospital) -> None:
    """Catches a verdict that is lost, or that is not tied to the code which was tested."""
    ledger = north.ledger()
    ledger.selftest(False, CODE, ["noise-scale"])
    assert ledger.entries()[0].body == {
        "passed": False,
        "code": CODE,
        "findings": ["noise-scale"],
        "bound": None,
    }


def test_code_that_nobody_brought_in_reserves_nothing(north: Hospital) -> None:
    """Catches an installation that is changed behind the hospital's back, and an upgrade that is recorded twice."""
    ledger, newer = north.ledger(), Installed("f" * 64, "9.9.9")
    ledger.install(Installed(CODE, "0.1.0"), first=True)
    ledger.install(newer, first=True)
    assert ledger.installed() == Installed(CODE, "0.1.0"), "only the first start records by itself"
    with pytest.raises(PlanRefused) as caught:
        ledger.reserve(PLAN, POLICY, newer.code)
    assert caught.value.code is Refusal.UPGRADE_PENDING
    ledger.install(newer)
    ledger.install(newer)
    ledger.reserve(PLAN, POLICY, newer.code)
    assert kinds(north.ledger()) == ["upgrade", "upgrade", "policy", "reservation"]
    assert north.ledger().installed() == newer


def test_an_approval_is_recorded_once_and_withdrawn_once(north: Hospital) -> None:
    """Catches a decision that is lost between processes, and a ledger that grows with each repetition."""
    ledger, manual = north.ledger(), replace(POLICY, approval="manual")
    for approved in (True, True, False, False, True):
        ledger.approve("spring", approved)
    assert kinds(north.ledger()) == ["approval"] * 3
    assert north.ledger().approved() == {"spring"}
    north.ledger().reserve(PLAN, manual, CODE)
    with pytest.raises(PlanRefused) as caught:
        ledger.reserve(replace(round_of(2), campaign="autumn"), manual, CODE)
    assert caught.value.code is Refusal.AWAITING_APPROVAL


def test_a_reservation_bears_the_moment_at_which_its_hours_were_judged(north: Hospital) -> None:
    """Catches a reservation that is allowed at 06:59:59 and dated 07:00:00, which an audit would hold against its hospital."""
    moments = iter(datetime(2026, 1, 6, hour, 30, tzinfo=UTC) for hour in (6, 7, 8, 9))
    nights = replace(POLICY, hours=("mon-fri 19:00-07:00",), time_zone="UTC")
    ledger = Ledger(north.place, north.key, lambda: next(moments))
    ledger.reserve(PLAN, nights, CODE)
    assert {entry.at[11:16] for entry in ledger.entries()} == {"06:30"}
    with pytest.raises(PlanRefused) as caught:
        ledger.reserve(round_of(2), nights, CODE)
    assert caught.value.code is Refusal.OUTSIDE_HOURS


def test_code_that_failed_its_last_selftest_reserves_nothing(north: Hospital) -> None:
    """Catches training on an installation that was found broken, and one that is locked for ever: a verdict counts
    for the code that it names, until that code is tested again.
    """
    ledger, other = north.ledger(), canonical.digest(b"the version before")
    ledger.reserve(PLAN, POLICY, CODE)  # never tested: allowed, and said by `status` and `check`
    ledger.selftest(False, CODE, ["noise-scale"])
    ledger.selftest(True, other, [])
    for asked in (round_of(2), ASKED):
        with pytest.raises(PlanRefused, match="noise-scale") as caught:
            north.ledger().reserve(asked, OFFERING, CODE)
        assert caught.value.code is Refusal.SELFTEST_FAILED
    ledger.install(Installed(other, None))
    ledger.reserve(round_of(2), POLICY, other)
    ledger.selftest(True, CODE, [])
    ledger.install(Installed(CODE, None))
    ledger.reserve(round_of(3), POLICY, CODE)
    found = north.ledger().last_selftest(CODE)
    assert found is not None
    assert found.passed
    assert ledger.last_selftest(canonical.digest(b"a version to come")) is None


def test_an_evaluation_and_the_round_before_it_are_two_charges(north: Hospital) -> None:
    """Catches an evaluation after round 1 that passes for round 1, or the other way round: one of them would be
    free, or never be answered.
    """
    ledger = north.ledger()
    for asked, sealed in ((PLAN, RELEASES), (ASKED, COUNTED)):
        assert ledger.sent("spring", 1, asked.hash, asked.purpose) is None
        ledger.spend(ledger.reserve(asked, OFFERING, CODE), sealed)
        assert north.ledger().sent("spring", 1, asked.hash, asked.purpose) == sealed
        with pytest.raises(RoundConflict):
            ledger.reserve(asked, OFFERING, CODE)
    assert [charge.purpose for charge in north.ledger()._read().charges()] == ["training", "evaluation"]
    assert ledger.epsilon(1e-5) == accounting.epsilon([PLAN.event(), ASKED.event()], 1e-5)
    assert ledger.rounds_left_like_the_last(OFFERING) == ledger.rounds_left(PLAN, OFFERING)
    with pytest.raises(RoundConflict):
        ledger.sent("spring", 1, replace(ASKED, noise_multiplier=5.0).hash, ASKED.purpose)
    body = [entry.body for entry in ledger.entries() if entry.kind == "reservation"][1]
    assert (body["stage"], body["round"], body["plan"]) == ("evaluation", 1, ASKED.hash)
    assert body["event"] == ASKED.event().to_dict()


def test_counts_leave_only_where_they_were_paid_for(north: Hospital) -> None:
    """Catches an egress log that holds counts nobody paid for."""
    ledger = north.ledger()
    record = EgressRecord("counts", canonical.digest(COUNTED["counts"]), 6, 1.0, CODE)
    with pytest.raises(LedgerError, match="not paid for"):
        ledger.log_egress([record])
    ledger.spend(ledger.reserve(ASKED, OFFERING, CODE), COUNTED)
    ledger.log_egress([record])
    assert [kept for _, kept in ledger.egress()] == [record]


def test_a_rotated_key_continues_the_chain(north: Hospital) -> None:
    """Catches a rotation that loses the history, lets the old key write on, or verifies under one key only."""
    first, second = north.key, keys.generate(north.folder / "second")
    ledger, other = north.ledger(), north.ledger()
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), RELEASES)
    ledger.rotate(second)
    ledger.spend(ledger.reserve(round_of(2), POLICY, CODE), RELEASES)
    for key in (first, second):
        ledger.verify(key.public)
    with pytest.raises(LedgerError, match="entry 1: the signature"):
        ledger.verify(keys.generate(north.folder / "stranger").public)
    for old in (other.summary, lambda: Ledger(north.place, first)):
        with pytest.raises(LedgerError, match="handed over"):
            old()
    again = Ledger(north.place, second)
    assert [again.release_key("spring", n) for n in (1, 2)] == [first.public, second.public]
    with pytest.raises(LedgerError, match="was not spent"):
        again.release_key("spring", 3)
    third = keys.generate(north.folder / "third")
    again.rotate(third)
    assert Ledger(north.place, third).release_key("spring", 1) == first.public
    assert again.summary().rotations == 2


def test_time_never_goes_back(north: Hospital) -> None:
    """Catches a ledger that a clock set back makes unreadable, or whose entries are dated out of order."""
    times = iter(datetime(2030, 1, day, tzinfo=UTC) for day in (5, 3, 9))
    ledger = Ledger(north.place, north.key, lambda: next(times))
    for _ in range(3):
        ledger.refuse(Refusal.BUSY, None)
    assert [entry.at[:10] for entry in ledger.entries()] == ["2030-01-05", "2030-01-05", "2030-01-09"]


def test_an_auditor_reads_without_writing(north: Hospital) -> None:
    """Catches a read-only opening that takes the writers' lock, or that writes."""
    ledger = north.ledger()
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), RELEASES)
    entries, account = read(Database(north.place, read_only=True), north.key.public)
    assert (len(entries), len(account.spent)) == (3, 1)
    with pytest.raises(LedgerError), Database(north.place, read_only=True).transaction() as transaction:
        transaction.put_release("0" * 64, "scale/roi", b"")

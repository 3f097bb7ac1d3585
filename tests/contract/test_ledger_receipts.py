"""The coordinator's receipts in a hospital's ledger, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from privacy import canonical, keys
from privacy.codes import ReleaseFault
from privacy.egress_record import MASKED
from privacy.errors import LedgerError, SignatureInvalid, WireError
from privacy.ledger.store import Ledger
from privacy.receipt import ACCEPTED, Receipt
from tests.privacy_cases import CODE, PLAN, POLICY, RELEASES, Hospital, kinds


def receipt(ledger: Ledger, **changes: object) -> Receipt:
    hashes = {expert: canonical.digest(data) for expert, data in RELEASES.items()}
    (reservation,) = [entry.hash for entry in ledger.entries() if entry.kind == "reservation"]
    good = Receipt("north", "spring", 1, PLAN.hash, hashes, dict.fromkeys(RELEASES, ACCEPTED), reservation)
    return replace(good, **changes)  # type: ignore[arg-type]


def test_a_receipt_is_kept_once(north: Hospital) -> None:
    """Catches a coordinator's proof that is lost, or written again at every retry."""
    coordinator = keys.generate(north.folder / "coordinator")
    ledger = north.ledger()
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), RELEASES)
    for _ in range(2):
        ledger.receipt(receipt(ledger).sign(coordinator), coordinator.public)
    assert kinds(ledger) == ["policy", "reservation", "spend", "receipt"]
    kept = ledger.entries()[-1].body
    assert Receipt.open(bytes.fromhex(kept["signed"]), coordinator.public) == receipt(ledger)
    assert kept["coordinator"] == coordinator.public.raw.hex()


Spoil = Callable[[Ledger, keys.PrivateKey, keys.PrivateKey], bytes]
OTHER = dict.fromkeys(RELEASES, PLAN.hash)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda ledger, key, stranger: receipt(ledger).sign(stranger), SignatureInvalid),
        (lambda ledger, key, stranger: receipt(ledger).sign(key)[:-1], SignatureInvalid),
        (lambda ledger, key, stranger: b"", SignatureInvalid),
        (lambda ledger, key, stranger: receipt(ledger, hospital="south").sign(key), LedgerError),
        (lambda ledger, key, stranger: receipt(ledger, round=2).sign(key), LedgerError),
        (lambda ledger, key, stranger: receipt(ledger, plan_hash=CODE).sign(key), LedgerError),
        (lambda ledger, key, stranger: receipt(ledger, releases=OTHER).sign(key), LedgerError),
        (lambda ledger, key, stranger: receipt(ledger, reservation=CODE).sign(key), LedgerError),
    ],
    ids=[
        "stranger",
        "cut",
        "empty",
        "another-hospital",
        "unsent-round",
        "other-plan",
        "other-bytes",
        "another-history",
    ],
)
def test_a_false_receipt_is_refused(north: Hospital, spoil: Spoil, error: type[Exception]) -> None:
    """Catches a ledger that acknowledges what it did not send."""
    coordinator, stranger = keys.generate(north.folder / "c"), keys.generate(north.folder / "s")
    ledger = north.ledger()
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), RELEASES)
    with pytest.raises(error):
        ledger.receipt(spoil(ledger, coordinator, stranger), coordinator.public)
    assert kinds(ledger) == ["policy", "reservation", "spend"]


@pytest.mark.parametrize(
    "changes",
    [
        {"outcomes": dict.fromkeys(RELEASES, "thank you")},
        {"outcomes": {}},
        {"outcomes": {expert: ["accepted"] for expert in RELEASES}},
        {"reservation": None},
        {"reservation": "north"},
        {"outcomes": dict.fromkeys(RELEASES, ReleaseFault.NOT_FINITE)},
    ],
    ids=["text", "none", "list", "accepted-unnamed", "no-hash", "refused-named"],
)
def test_a_receipt_of_a_wrong_form_is_refused(changes: dict[str, object]) -> None:
    """Catches free text from the coordinator in a hospital's ledger, and outcomes that contradict each other."""
    hashes = dict.fromkeys(RELEASES, CODE)
    good = Receipt("north", "spring", 1, PLAN.hash, hashes, dict.fromkeys(RELEASES, ACCEPTED), CODE)
    with pytest.raises(WireError):
        replace(good, **changes)  # type: ignore[arg-type]


MASKED_SUM = Receipt("north", "spring", 1, PLAN.hash, {MASKED: CODE}, {MASKED: ACCEPTED}, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"reservation": CODE},
        {"outcomes": {MASKED: ReleaseFault.NOT_FINITE}},
        {
            "releases": {MASKED: CODE, "scale/roi": CODE},
            "outcomes": dict.fromkeys((MASKED, "scale/roi"), ACCEPTED),
        },
        {"releases": {"counts": CODE}, "outcomes": {"counts": ACCEPTED}},
    ],
    ids=["reservation-named", "refused", "beside-a-release", "counts"],
)
def test_a_receipt_for_a_masked_sum_says_no_more_than_that_it_counted(changes: dict[str, object]) -> None:
    """Catches a receipt for a sum that looks like one for releases, or takes the place of one that must name what paid."""
    with pytest.raises(WireError):
        replace(MASKED_SUM, **changes)  # type: ignore[arg-type]


def test_a_receipt_for_a_masked_sum_is_for_the_bytes_that_were_paid_for(north: Hospital) -> None:
    """Catches a coordinator that acknowledges another vector, or releases as if they were a sum."""
    coordinator = keys.generate(north.folder / "coordinator")
    ledger = north.ledger()
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), {MASKED: b"words"})
    right = replace(MASKED_SUM, releases={MASKED: canonical.digest(b"words")})
    for wrong in (
        MASKED_SUM,
        replace(right, plan_hash=CODE),
        replace(right, hospital="south"),
        receipt(ledger),
    ):
        with pytest.raises(LedgerError):
            ledger.receipt(wrong.sign(coordinator), coordinator.public)
    for _ in range(2):
        ledger.receipt(right.sign(coordinator), coordinator.public)
    assert kinds(ledger)[-2:] == ["spend", "receipt"]

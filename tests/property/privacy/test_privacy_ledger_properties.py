"""Whatever order a hospital's life takes, the account is the one that a reader of the entries finds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import canonical
from privacy.errors import LedgerError
from privacy.keys import PrivateKey
from privacy.ledger.account import Account
from privacy.ledger.entries import Entry, Kind, check_chain, follow, rotation
from privacy.ledger.reading import Book
from tests.privacy_cases import CODE, PLAN, POLICY

KEYS = [PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in range(4)]
AT = datetime(2030, 1, 1, tzinfo=UTC)
RELEASE = {"sha256": CODE, "bytes": 3}

steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "spend", "void", "release", "rotate", "withdraw"]),
        st.integers(1, 3),
    ),
    max_size=25,
)


def reservation(number: int) -> dict[str, object]:
    return {
        "campaign": "spring",
        "round": number,
        "stage": "sft",
        "experts": ["scale/roi"],
        "base": CODE,
        "plan": PLAN.hash,
        "policy": POLICY.hash,
        "code": CODE,
        "event": PLAN.event().to_dict(),
    }


class Life:
    """A model of a hospital: which rounds are open and spent, kept as plainly as can be."""

    def __init__(self) -> None:
        self.keys = iter(KEYS[1:])
        self.key = KEYS[0]
        self.open: dict[int, str] = {}
        self.spent: set[int] = set()
        self.voided = 0
        first = follow(None, Kind.POLICY, AT, {"policy": POLICY.to_dict()}, self.key)
        self.entries = [first]
        self.account = Account().after(first)

    def attempt(self, what: str, number: int) -> None:
        """Write the entry where the model allows it; where it does not, the account must refuse it too."""
        body: dict[str, object]
        held = self.open.get(number, canonical.digest(b"no reservation"))
        allowed = number in self.open
        new = None
        if what == "reserve":
            kind, body, allowed = (
                Kind.RESERVATION,
                reservation(number),
                number not in self.open and number not in self.spent,
            )
        elif what == "spend":
            kind, body = Kind.SPEND, {"reservation": held, "releases": {f"x/{number}": RELEASE}}
        elif what == "void":
            kind, body = Kind.VOID, {"reservation": held}
        elif what == "release":
            parts = [{"name": f"release/x/{number}", **RELEASE}]
            kind, body, allowed = (
                Kind.RELEASE,
                {"destination": CODE, "epsilon": 0.5, "parts": parts},
                number in self.spent,
            )
        elif what == "withdraw":
            kind, body, allowed = Kind.WITHDRAWAL, {"withdrawn": number, "salt": "0" * 64}, True
        else:
            new = next(self.keys, None)
            if new is None:
                return
            kind, body, allowed = Kind.ROTATION, dict(rotation(self.account.last, self.key.public, new)), True
        entry = follow(self.account.last, kind, AT, body, self.key)
        if not allowed:
            with pytest.raises(LedgerError):
                self.account.after(entry)
            return
        self.account = self.account.after(entry)
        self.entries.append(entry)
        self.key = new or self.key
        if what == "reserve":
            self.open[number] = entry.hash
        elif what in ("spend", "void"):
            del self.open[number]
            self.spent |= {number} if what == "spend" else set()
            self.voided += what == "void"


def lived(plan: list[tuple[str, int]]) -> Life:
    life = Life()
    for what, number in plan:
        life.attempt(what, number)
    return life


@settings(max_examples=60)
@given(steps)
def test_an_account_counts_each_reservation_once(plan: list[tuple[str, int]]) -> None:
    """Catches an order of steps after which a reservation is free or charged twice, or a round open to be spent again."""
    life = lived(plan)
    assert {n for _, n, _ in life.account.spent} == life.spent
    assert {held.round for held in life.account.open.values()} == set(life.open)
    assert len(life.account.events()) == len(life.open) + len(life.spent) + life.voided
    for key in KEYS[: len(life.account.rotations) + 1]:
        book = Book.of(life.entries, key.public)
        assert (book.account, book.signer) == (life.account, life.key.public)


@settings(max_examples=60)
@given(steps, st.integers(0, 100), st.integers(0, 100), st.sampled_from(["drop", "swap", "flip", "sign"]))
def test_no_entry_can_be_taken_out_moved_or_changed(
    plan: list[tuple[str, int]], at: int, other: int, how: str
) -> None:
    """Catches a place in the chain that the chain does not hold."""
    life = lived(plan)
    entries = list(life.entries)
    at, other = at % len(entries), other % len(entries)
    if how == "drop":
        if at == len(entries) - 1:
            return  # a shorter ledger is a valid one: the outbox, receipts and exports show it
        del entries[at]
    elif how == "swap":
        if at == other:
            return
        entries[at], entries[other] = entries[other], entries[at]
    elif how == "flip":
        entries[at] = replace(entries[at], body={**entries[at].body, "more": 1})
    else:
        entries[at] = _signed_by_a_stranger(entries[at])
    with pytest.raises(LedgerError):
        check_chain(entries, KEYS[0].public)


def _signed_by_a_stranger(entry: Entry) -> Entry:
    from privacy.keys import Purpose

    stranger = PrivateKey(Ed25519PrivateKey.from_private_bytes(b"\xff" * 32))
    return replace(entry, signature=stranger.sign(entry.content(), Purpose.LEDGER))

"""What the coordinator can do to its own journal, with its own key: the hospitals' books and its receipts tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from privacy.audit.findings import Code
from privacy.audit.sources import Side, Source
from privacy.ledger.entries import Entry
from privacy.mechanism import Event
from tests.audit_books import Body, Change, World, audited, book, codes, resigned


def _journal_round(number: int, change: Callable[[Body], Body | None]) -> Change:
    def apply(entry: Entry, body: Body) -> Body | None:
        this = entry.kind == "round" and (body["campaign"], body["number"]) == ("spring", number)
        return change(body) if this else body

    return apply


def _with_verdict(index: int, **fields: object) -> Callable[[Body], Body]:
    def change(body: Body) -> Body:
        body["verdicts"][index] |= fields
        return body

    return change


def _again(body: Body) -> Body:
    """The first verdict once more, and in the name of another expert."""
    body["verdicts"].append(body["verdicts"][0])
    return body


BY_COORDINATOR: list[tuple[str, Code, Change]] = [
    ("a verdict changed", Code.RECEIPT_MISMATCH, _journal_round(2, _with_verdict(2, fault="bad-signature"))),
    ("accepted that was not sent", Code.NOT_PAID, _journal_round(2, _with_verdict(2, release="ab" * 32))),
    ("counted twice", Code.ACCEPTED_TWICE, _journal_round(2, _again)),
    ("a round left out", Code.CUT_SHORT, _journal_round(2, lambda body: None)),
    ("a round out of order", Code.ILLEGAL_ENTRY, _journal_round(2, lambda body: None)),
    (
        "another mechanism",
        Code.EVENT_MISMATCH,
        _journal_round(2, lambda body: body | {"event": Event(9.0, 0.1, 2).to_dict()}),
    ),
    ("another plan", Code.PLAN_MISMATCH, _journal_round(2, lambda body: body | {"plan": "cd" * 32})),
    (
        "opened later",
        Code.OUT_OF_TIME,
        _journal_round(2, lambda body: body | {"opened": "2030-01-02T00:00:00.000+00:00"}),
    ),
    ("no time", Code.ILLEGAL_ENTRY, _journal_round(2, lambda body: body | {"opened": "noon"})),
    ("a stranger", Code.NOT_ENROLLED, _journal_round(2, _with_verdict(0, hospital="west"))),
]


@pytest.mark.parametrize(
    ("code", "change"),
    [row[1:] for row in BY_COORDINATOR],
    ids=[row[0].replace(" ", "-") for row in BY_COORDINATOR],
)
def test_a_journal_that_its_coordinator_rewrote_is_found(
    world: World, honest: dict[str, Source], tmp_path: Path, code: Code, change: Change
) -> None:
    """Catches the coordinator that cheats: the hospitals' ledgers, and the receipts that it signed, tell."""
    key = world.home.coordinator()
    entries = resigned(honest["journal"].entries, key, change)
    rewritten = book("journal", Side.COORDINATOR, entries, key, tmp_path)
    assert code in codes(audited(world, [honest["north"], honest["south"], rewritten]))


def test_a_release_accepted_in_two_rounds_is_paid_once(
    world: World, honest: dict[str, Source], tmp_path: Path
) -> None:
    """Catches a replay that the coordinator counted: one payment, two rounds."""
    key = world.home.coordinator()
    (first,) = [e.body["verdicts"][2]["release"] for e in honest["journal"].entries
                if e.kind == "round" and (e.body["campaign"], e.body["number"]) == ("spring", 1)]  # fmt: skip
    change = _journal_round(2, _with_verdict(2, release=first))
    entries = resigned(honest["journal"].entries, key, change)
    found = audited(world, [honest["south"], book("journal", Side.COORDINATOR, entries, key, tmp_path)])
    assert {Code.ACCEPTED_TWICE, Code.NOT_PAID} <= codes(found)

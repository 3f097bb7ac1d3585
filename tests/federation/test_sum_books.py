"""Both sides' books of rounds under distributed trust in an auditor's hands, honest and not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from privacy import canonical
from privacy.audit import chain
from privacy.audit.findings import Code
from privacy.audit.journal import read_journal
from privacy.audit.sources import Side, read_source
from privacy.audit.verify import Audit, Trusted, audit
from privacy.egress_record import MASKED
from privacy.ledger.entries import Entry
from privacy.ledger.export import write_export
from privacy.second_accountant import epsilon as second_epsilon
from server import journal
from server.evidence import hand_over
from strategies import handed
from strategies.replay import Replayed, replay, strays
from tests.audit_books import Body, Change, book, resigned
from tests.federation.simulator import Faults
from tests.federation.test_rounds import World
from tests.federation.test_sums import NAMES, STAGE, SUMMING, acquainted, summed


@dataclass(frozen=True)
class Books:
    """Both sides' books of a campaign of two sums, one of them without a hospital that dropped out; and what was kept."""

    here: World
    journal: Path
    kept: Path

    def replayed(self) -> list[Replayed]:
        """The rounds as an auditor recomputes them."""
        source = read_source(self.journal)
        book = read_journal(source, chain.check(source, (self.here.home.coordinator().public,)))
        assert strays(book, self.kept) == []
        return list(replay(book, self.kept))


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """The books; tests put back what they change."""
    folder = tmp_path_factory.mktemp("books")
    here = acquainted(folder, *NAMES)
    here.run(SUMMING)
    here.hospitals["west"].faults = Faults(lost_at="agree")
    here.run(replace(SUMMING, name="autumn"), "2")
    made = Books(here, folder / "journal.jsonl", folder / "kept")
    journal.export(made.journal, here.store.journal(), here.home.coordinator(), here.clock.now())
    assert list(hand_over(here.store, here.store.journal(), made.kept)) == []
    return made


def audited(
    books: Books, folder: Path, hospital: Change | None = None, coordinator: Change | None = None
) -> Audit:
    """The audit of all books; `hospital` is how north rewrote its own, `coordinator` how the coordinator did."""
    sources = []
    for name, one in books.here.hospitals.items():
        entries = one.ledger.entries()
        if name == "north" and hospital is not None:
            entries = resigned(entries, one.key, hospital)
        write_export(folder / f"{name}.jsonl", entries, one.key, "2031-01-01")
        sources.append(read_source(folder / f"{name}.jsonl"))
    told, key = read_source(books.journal), books.here.home.coordinator()
    if coordinator is not None:
        told = book("journal", Side.COORDINATOR, resigned(told.entries, key, coordinator), key, folder)
    keys_ = tuple(one.key.public for one in books.here.hospitals.values())
    return audit([*sources, told], Trusted(keys_, (key.public,)), second_epsilon)


def codes(found: Audit) -> set[Code]:
    """What was found; the hospitals' clocks are real here, and the grid's is not."""
    return {item.code for item in found.findings} - {Code.OUT_OF_TIME}


def test_both_sides_books_are_in_order(books: Books, tmp_path: Path) -> None:
    """Catches an audit that takes a sum for something that was not paid for, its event for another, or a masked sum for
    unacknowledged; by both accountants.
    """
    found = audited(books, tmp_path)
    assert codes(found) == set()
    assert [note.text for note in found.notes if "not acknowledged" in note.text] == []
    totals = [total for figures in found.figures for total in figures.totals if total.scope == "in all"]
    assert [(total.events, total.epsilon == pytest.approx(total.second)) for total in totals] == [
        (2, True)
    ] * 4


def test_books_from_before_there_were_receipts_for_sums_are_valid(books: Books, tmp_path: Path) -> None:
    """Catches an audit that calls an older ledger false: it notes what nobody acknowledged."""
    found = audited(books, tmp_path, hospital=lambda entry, body: None if entry.kind == "receipt" else body)
    assert codes(found) == set()
    (note,) = [note.text for note in found.notes if "not acknowledged" in note.text]
    assert note.endswith("round 1 of spring, 1 of autumn")


def _rewritten(change: Callable[[list[Body]], list[Body]]) -> Change:
    """The first round's verdicts as a coordinator rewrites them."""

    def of(entry: Entry, body: Body) -> Body:
        mine = entry.kind == "round" and body["campaign"] == "spring"
        return body | {"verdicts": change(body["verdicts"])} if mine else body

    return of


def _another_hash(verdicts: list[Body]) -> list[Body]:
    return [v | {"release": canonical.digest(b"x")} if v["hospital"] == "north" else v for v in verdicts]


def _without_north(verdicts: list[Body]) -> list[Body]:
    return [v for v in verdicts if v["hospital"] != "north"]


def _refused(verdicts: list[Body]) -> list[Body]:
    return [
        v | {"expert": None, "fault": "no-answer", "release": ""} if v["hospital"] == "north" else v
        for v in verdicts
    ]


def _no_round(entry: Entry, body: Body) -> Body | None:
    return None if entry.kind == "round" and body["campaign"] == "spring" else body


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_rewritten(_another_hash), Code.RECEIPT_MISMATCH),
        (_rewritten(_without_north), Code.RECEIPT_MISMATCH),
        (_rewritten(_refused), Code.RECEIPT_MISMATCH),
        (_no_round, Code.CUT_SHORT),
    ],
    ids=["another-hash", "left-out", "said-not-to-have-come", "no-such-round"],
)
def test_a_journal_that_contradicts_a_receipt_for_a_sum_is_found(
    books: Books, tmp_path: Path, change: Change, code: Code
) -> None:
    """Catches a coordinator that tells an auditor of other sums than those it acknowledged."""
    assert code in codes(audited(books, tmp_path, coordinator=change))


def _never_paid(entry: Entry, body: Body) -> Body | None:
    """The ledger as if "spring" had never been: without its receipt, too."""
    told = body.get("receipt", body).get("campaign")
    return None if told == "spring" or entry.kind in {"spend", "receipt", "release"} else body


def test_a_sum_that_the_journal_has_and_the_ledger_does_not_is_found(books: Books, tmp_path: Path) -> None:
    """Catches a hospital that forgets what it put into a sum."""
    assert Code.NOT_PAID in codes(audited(books, tmp_path, hospital=_never_paid))


def test_a_sum_is_recomputed_bit_for_bit_from_its_messages(books: Books) -> None:
    """Catches a journal or an export that lacks what the sum needs, and an auditor who takes masks off otherwise."""
    rounds = books.replayed()
    assert [(done.same, done.differences, done.left_out) for done in rounds] == [
        (STAGE.experts, (), None)
    ] * 2


@pytest.mark.parametrize("part", ["advert", "deal", MASKED, "survivors", "opening"])
def test_a_message_that_is_missing_or_changed_is_named(books: Books, part: str) -> None:
    """Catches a sum that is believed though one of its messages is not there, or is another."""
    digest = summed(books.here)["messages"][part]["north"]
    file = handed.place(books.kept, handed.RELEASES, digest)
    right = file.read_bytes()
    try:
        for wrong, code in (
            (None, Code.MISSING_FILE),
            (right[:-1] + bytes([right[-1] ^ 1]), Code.CHANGED_FILE),
        ):
            file.unlink(missing_ok=True)
            if wrong is not None:
                file.write_bytes(wrong)
            *_, last = books.replayed()
            assert [(item.code, item.hospital) for item in last.differences] == [(code, "north")]
    finally:
        file.write_bytes(right)

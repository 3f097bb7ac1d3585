"""The audit as a whole: from files as they were read, and keys that are trusted, to all that was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from privacy.audit import chain, rules
from privacy.audit.accounting import Accountant, Epsilons, Figures, recompute
from privacy.audit.chain import Chain
from privacy.audit.copies import forks, newest
from privacy.audit.cross import absent, cross_check, notes
from privacy.audit.findings import Code, Finding, Note
from privacy.audit.hospital import HospitalBook, read_ledger
from privacy.audit.journal import JournalBook, read_journal
from privacy.audit.sources import Side, Source
from privacy.keys import PublicKey

_T = TypeVar("_T")
_LONGEST = 300  # letters of what an unforeseen error says


@dataclass(frozen=True)
class Trusted:
    """The keys that an auditor was given, by what they may sign: ledgers, or journals and receipts."""

    hospitals: tuple[PublicKey, ...] = ()
    coordinators: tuple[PublicKey, ...] = ()

    def of(self, side: Side | None) -> tuple[PublicKey, ...]:
        """Those that may vouch for a book of this side; none for one of which nothing could be read."""
        return {None: (), Side.HOSPITAL: self.hospitals, Side.COORDINATOR: self.coordinators}[side]


@dataclass(frozen=True)
class Audit:
    """All books as they were read, each ledger's figures beside it, and all that was found."""

    hospitals: tuple[HospitalBook, ...]
    figures: tuple[Figures, ...]
    journals: tuple[JournalBook, ...]
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]


def audit(sources: Sequence[Source], trusted: Trusted, second: Accountant) -> Audit:
    """Verify each book by itself, recompute every epsilon, and compare the two sides.  Pure: `second` is asked for
    the second epsilon of each history.

    Whatever one book makes the code raise is a finding about that book; the others are audited all the same.
    """
    last = _LastCatch()
    checked = [(s, last(s.name, Chain((), False, ()), chain.check, s, trusted.of(s.side))) for s in sources]
    read, older = newest(checked)
    held = [key for s, c in read if s.side is Side.COORDINATOR and c.intact for key in c.keys]
    coordinators = tuple(
        dict.fromkeys([*trusted.coordinators, *held])
    )  # before and after its key was rotated
    hospitals = [
        last(s.name, HospitalBook(s, c, read=False), read_ledger, s, c, coordinators)
        for s, c in read
        if s.side is Side.HOSPITAL
    ]
    journals = [
        last(s.name, JournalBook(s, c, read=False), read_journal, s, c)
        for s, c in read
        if s.side is Side.COORDINATOR
    ]
    epsilons = Epsilons(second)
    figures = [
        last(b.source.name, Figures(), recompute, b.source.name, b.entries, epsilons) for b in hospitals
    ]
    readable = [journal for journal in journals if journal.read]
    said: list[Finding | Note] = []
    for ledger in hospitals:
        said += last(ledger.source.name, [], _judged, ledger, readable)
    for journal in readable:
        said += last(journal.source.name, [], _missing, journal, hospitals)
    books: list[Chain | HospitalBook | JournalBook] = [*(c for _, c in checked), *hospitals, *journals]
    findings = [
        *(finding for book in books for finding in book.findings),
        *(finding for figure in figures for finding in figure.findings),
        *forks(checked),
        *(item for item in said if isinstance(item, Finding)),
        *last.findings,
    ]
    told = [
        *(note for book in books for note in book.notes),
        *older,
        *(item for item in said if isinstance(item, Note)),
    ]
    return Audit(tuple(hospitals), tuple(figures), tuple(journals), tuple(findings), tuple(told))


def _judged(hospital: HospitalBook, journals: Sequence[JournalBook]) -> list[Finding | Note]:
    """A ledger against its own policies, and against the journals."""
    return [
        *rules.judge(hospital.source.name, hospital.entries),
        *cross_check(hospital, journals),
        *notes(hospital, journals),
    ]


def _missing(journal: JournalBook, hospitals: Sequence[HospitalBook]) -> list[Finding | Note]:
    return list(absent(journal, hospitals))


class _LastCatch:
    """Whatever a book makes a step raise becomes a finding; `findings` holds them."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def __call__(self, book: str, otherwise: _T, step: Callable[..., _T], *given: object) -> _T:
        """What the step gives, or `otherwise`."""
        try:
            return step(*given)
        except Exception as error:
            text = f"it can't be audited to the end: {type(error).__name__}: {error}"
            self.findings.append(Finding(Code.DAMAGED, book, None, text[:_LONGEST]))
            return otherwise

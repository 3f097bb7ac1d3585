"""The audit as a whole: from files as they were read, and keys that are trusted, to all that was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from privacy.audit import chain
from privacy.audit.accounting import Accountant, Figures, recompute
from privacy.audit.chain import Chain
from privacy.audit.cross import cross_check, forks
from privacy.audit.findings import Code, Finding, Note
from privacy.audit.hospital import HospitalBook, read_ledger
from privacy.audit.journal import JournalBook, read_journal
from privacy.audit.sources import Side, Source
from privacy.keys import PublicKey


@dataclass(frozen=True)
class Audit:
    """All books as they were read, each ledger's figures beside it, and all that was found."""

    hospitals: tuple[HospitalBook, ...]
    figures: tuple[Figures, ...]
    journals: tuple[JournalBook, ...]
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]


def audit(sources: Sequence[Source], trusted: Sequence[PublicKey], second: Accountant) -> Audit:
    """Verify each book by itself, recompute every epsilon, and compare the two sides.  Pure: `second` is asked for
    the second epsilon of each history.
    """
    chains = [(source, chain.check(source, trusted)) for source in sources]
    coordinators = _coordinators(chains, trusted)
    hospitals = [read_ledger(s, c, coordinators) for s, c in chains if s.side is Side.HOSPITAL]
    journals = [read_journal(s, c) for s, c in chains if s.side is Side.COORDINATOR]
    figures = [recompute(book.source.name, book.entries, second) for book in hospitals]
    crossed, notes = cross_check(hospitals, journals)
    books: list[HospitalBook | JournalBook] = [*hospitals, *journals]
    findings = [
        *(finding for _, checked in chains for finding in checked.findings),
        *_two_roles(hospitals, journals),
        *(finding for book in books for finding in book.findings),
        *(finding for figure in figures for finding in figure.findings),
        *forks([(source, checked.keys) for source, checked in chains if checked.intact]),
        *crossed,
    ]
    told = [note for _, checked in chains for note in checked.notes] + [
        n for book in books for n in book.notes
    ]
    return Audit(tuple(hospitals), tuple(figures), tuple(journals), tuple(findings), (*told, *notes))


def _two_roles(hospitals: Sequence[HospitalBook], journals: Sequence[JournalBook]) -> Iterator[Finding]:
    """A hospital could write a journal for itself, and its key was given to be trusted."""
    held = {key for book in hospitals for key in book.chain.keys}
    for journal in journals:
        if held & set(journal.chain.keys):
            text = "it is signed with a key that holds a hospital's ledger: it is not the coordinator's"
            yield Finding(Code.UNKNOWN_KEY, journal.source.name, None, text)


def _coordinators(chains: Sequence[tuple[Source, Chain]], trusted: Sequence[PublicKey]) -> set[PublicKey]:
    """Whose receipts count: the journals' holders; without a journal, the keys given that hold no ledger."""
    held = {side: {k for s, c in chains if s.side is side for k in c.keys} for side in Side}
    return (held[Side.COORDINATOR] or set(trusted)) - held[Side.HOSPITAL]

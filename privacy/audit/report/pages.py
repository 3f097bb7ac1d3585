"""What a report says: an audit turned into sentences and tables that a regulator can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from privacy.audit.accounting import ABSOLUTE, RELATIVE
from privacy.audit.journal import JournalBook
from privacy.audit.report.document import Document, Section, Table
from privacy.audit.report.hospital_pages import sections
from privacy.audit.verify import Audit
from privacy.plan import TRAINING

_MEANING = (
    "What leaves a hospital is the change of small parts of a shared model, never slides, reports or patients' names. "
    "Noise is added to it, in the hospital, so that nobody can tell from it whether any one patient took part. "
    "Epsilon and delta say how well: with or without a patient, whatever anyone concludes from all that left is at most "
    "exp(epsilon) times as likely, except with a probability of about delta. Someone who held it for an even chance "
    "that a patient took part can be brought to at most 73 % by an epsilon of 1, 95 % by 3 and 99.97 % by 8; in practice "
    "far less, as this bounds the worst that is possible against one who knows everything else.",
    "The patient is the unit: all slides, questions and answers of one patient count together. A hospital refuses, before "
    "it trains, whatever would pass the budget that its own policy sets.",
)
_NOT_SHOWN = (
    "Records show what was written down. That the code which wrote them does what it says is the self-test's to show "
    "(its verdicts stand with each hospital), and that this code was installed is for whoever inspects the machine.",
    "The figures do not say how good the model is; nor what a hospital disclosed in other ways; nor anything about "
    "conclusions that hold for patients in general, whether or not they took part.",
    "A hospital can write its ledger anew from after the last reservation whose releases the coordinator accepted: refusals, "
    "failed self-tests, withdrawals and replies of that time, though not what was charged for releases that arrived. Only "
    "an earlier export or copy shows that: hand in all that there are.",
    "Where a ledger and a journal disagree, the books alone do not prove which of them is right.",
    f"Every epsilon here was computed anew from the recorded events, by two programs that different people wrote by "
    f"different methods (dp-accounting's privacy loss distributions; Opacus' privacy random variables). A difference of "
    f"more than {ABSOLUTE:g} and {RELATIVE:.0%} is a finding.",
)


def pages(audit: Audit, at: datetime) -> Document:
    """The report of an audit that was made `at`.  Plain text throughout: what draws it escapes it."""
    books = len(audit.hospitals) + len(audit.journals)
    count = len(audit.findings)
    if count:
        verdict = (
            f"{count} finding{'s' if count > 1 else ''}: do not rely on these books before each is explained."
        )
    elif audit.hospitals and audit.journals:
        verdict = (
            "Nothing was found: all books are whole, signed and agree, and every epsilon is as recorded."
        )
    else:
        verdict = "Nothing was found in these books; there were none of the other side to compare them with."
    return Document(
        title="Privacy audit",
        subtitle=f"{books} book{'s' if books > 1 else ''}, audited on {at:%d %B %Y, %H:%M} UTC",
        clean=not count,
        verdict=verdict,
        sections=tuple(_sections(audit)),
    )


def _sections(audit: Audit) -> Iterator[Section]:
    if audit.findings:
        rows = tuple(
            (str(f.code), f.book, "" if f.entry is None else str(f.entry), f.text) for f in audit.findings
        )
        table = Table(("finding", "book", "entry", "what"), rows, (20, 20, 8, 52))
        yield Section("Findings", table=table, listed=True)
    if audit.notes:
        notes = tuple((note.book, note.text) for note in audit.notes)
        table = Table(("book", "note"), notes, (30, 70))
        yield Section("To be known", ("No fault of anyone's.",), table=table, listed=True)
    if len(audit.hospitals) > 1:
        yield _glance(audit)
    yield Section("What the figures mean", _MEANING, listed=True)
    for book, figures in zip(audit.hospitals, audit.figures, strict=True):
        yield from sections(book, figures)
    for journal in audit.journals:
        yield _journal(journal)
    yield _compare(audit)
    yield Section("What the figures do not show", _NOT_SHOWN, listed=True)


def _glance(audit: Audit) -> Section:
    """All hospitals, a line each."""
    found = Counter(finding.book for finding in audit.findings)
    rows = tuple(
        (
            book.hospital or book.source.name,
            "" if not figures.curve else f"{figures.curve[-1].epsilon:.2f}",
            "" if not figures.curve else f"{figures.curve[-1].second:.2f}",
            "" if not figures.curve else f"{figures.curve[-1].budget:g}",
            str(len(book.payments)),
            str(book.account.refused),
            str(found[book.source.name]),
        )
        for book, figures in zip(audit.hospitals, audit.figures, strict=True)
    )
    headings = ("hospital", "epsilon", "second accountant", "budget", "paid for", "refused", "findings")
    return Section("All hospitals", table=Table(headings, rows, (28, 12, 14, 12, 12, 12, 10)), listed=True)


def _compare(audit: Audit) -> Section:
    """What two people who each hold a copy compare."""
    sources = [book.source for book in audit.hospitals] + [book.source for book in audit.journals]
    rows = tuple(
        (source.name, source.sha256 or "", source.entries[-1].hash if source.entries else "no entry")
        for source in sources
    )
    return Section(
        "To compare",
        (
            "Whoever holds a copy of a book, or its owner on the telephone, can say whether it is this one: the file by its "
            "SHA-256 (sha256sum), the book by the hash of its last entry, which covers all entries before it.",
        ),
        table=Table(("book", "SHA-256 of the file", "last entry"), rows, (24, 38, 38), frozenset({1, 2})),
        listed=True,
    )


def _journal(book: JournalBook) -> Section:
    enrolled = ", ".join(sorted(book.enrolled)) or "none"
    rows = tuple(
        (
            held.campaign,
            str(held.number) if held.purpose == TRAINING else f"after {held.number}",
            held.opened[:16].replace("T", " "),
            held.committed[:16].replace("T", " "),
            str(len({v.hospital for v in held.verdicts if v.accepted})),
            str(sum(v.accepted for v in held.verdicts)),
            str(sum(not v.accepted for v in held.verdicts)),
        )
        for held in book.rounds
    )
    headings = (
        "campaign",
        "round",
        "opened (UTC)",
        "committed (UTC)",
        "hospitals",
        "accepted",
        "refused or absent",
    )
    return Section(
        "The coordinator's journal",
        (
            f"{book.source.name}: {len(book.source.entries)} entries, signed with the key "
            f"{', '.join(key.fingerprint for key in book.chain.keys) or 'of nobody known'}. Enrolled: {enrolled}.",
        ),
        table=Table(headings, rows, (18, 8, 20, 20, 11, 11, 12), latest=True) if rows else None,
        listed=True,
    )

"""An audit in words and as JSON, for the terminal and for programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from privacy.audit.accounting import Figures
from privacy.audit.hospital import HospitalBook
from privacy.audit.journal import JournalBook
from privacy.audit.verify import Audit
from privacy.ledger.entries import Kind
from privacy.ledger.reading import summarise
from privacy.printable import printable


def to_json(audit: Audit) -> dict[str, Any]:
    """All of an audit that a program needs; an infinite epsilon is null."""
    return {
        "valid": not audit.findings,
        "findings": [asdict(finding) for finding in audit.findings],
        "notes": [asdict(note) for note in audit.notes],
        "hospitals": [
            _hospital(book, figures) for book, figures in zip(audit.hospitals, audit.figures, strict=True)
        ],
        "journals": [_journal(book) for book in audit.journals],
    }


def lines(audit: Audit) -> Iterator[str]:
    """An audit for the eye: each book in figures, then the notes, then every finding.  Each fit for a terminal."""
    yield from map(printable, _lines(audit))


def _lines(audit: Audit) -> Iterator[str]:
    for book, figures in zip(audit.hospitals, audit.figures, strict=True):
        yield from _hospital_lines(book, figures)
    for journal in audit.journals:
        releases = sum(verdict.accepted for held in journal.rounds for verdict in held.verdicts)
        yield (
            f"{journal.source.name}: the coordinator's journal, {len(journal.source.entries)} entries: "
            f"{len(journal.enrolled)} hospitals, {len(journal.rounds)} rounds, {releases} releases accepted"
        )
    for note in audit.notes:
        yield f"note: {note}"
    for finding in audit.findings:
        yield f"FINDING: {finding}"
    yield "valid: nothing was found" if not audit.findings else f"NOT VALID: {len(audit.findings)} findings"


def _hospital_lines(book: HospitalBook, figures: Figures) -> Iterator[str]:
    summary = summarise(book.account)
    yield f"{book.source.name}: the ledger of {book.hospital or 'no one yet'}, {len(book.source.entries)} entries"
    yield (
        f"  rounds: {summary.spent} spent, {summary.reserved} reserved, {summary.voided} voided, "
        f"{summary.refused} refused, {summary.receipts} acknowledged"
    )
    for total in figures.totals:
        yield (
            f"  epsilon {total.scope}: {total.epsilon:.3f} (second accountant {total.second:.3f}) at delta "
            f"{total.delta:g}, recomputed from {total.events} events"
        )
    for code in _codes(book):
        by = "no entry" if code["entry"] is None else f"entry {code['entry']} (version {code['version']})"
        yield f"  code {code['code'][:16]}...: {code['answers']} answers made under it, brought in by {by}"


def _codes(book: HospitalBook) -> list[dict[str, Any]]:
    """Under which code its answers were made, oldest first: how many, and the entry that brought it in (None: no entry)."""
    brought = {
        entry.body["after"]["code"]: (entry.sequence, entry.body["after"]["version"])
        for entry in reversed(book.entries)
        if entry.kind == Kind.UPGRADE
    }
    answers = Counter(payment.code for payment in book.payments)
    return [
        {"code": code, "version": version, "entry": sequence, "answers": number}
        for code, number in answers.items()
        for sequence, version in [brought.get(code, (None, None))]
    ]


def _hospital(book: HospitalBook, figures: Figures) -> dict[str, Any]:
    summary = asdict(summarise(book.account))
    del summary["events"]
    totals = [
        {**asdict(t), "epsilon": _finite(t.epsilon), "second": _finite(t.second)} for t in figures.totals
    ]
    read = {"hospital": book.hospital, "read": book.read, **summary, "totals": totals, "codes": _codes(book)}
    return {"book": book.source.name, "keys": [key.raw.hex() for key in book.chain.keys], **read}


def _journal(book: JournalBook) -> dict[str, Any]:
    return {
        "book": book.source.name,
        "keys": [key.raw.hex() for key in book.chain.keys],
        "read": book.read,
        "entries": len(book.source.entries),
        "hospitals": sorted(book.enrolled),
        "rounds": len(book.rounds),
    }


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None

"""Hospital against coordinator: each of the two signed its own book, so neither can mend the other's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import combinations

from privacy.audit.findings import Code, Finding, Note
from privacy.audit.hospital import HospitalBook, Payment
from privacy.audit.journal import JournalBook, Round, Verdict
from privacy.audit.sources import Source
from privacy.codes import ReleaseFault
from privacy.experts import EXPERTS
from privacy.keys import PublicKey
from privacy.mechanism import Event
from privacy.plan import TRAINING
from privacy.receipt import ACCEPTED, Receipt

SKEW = timedelta(minutes=5)  # how far the clocks of the two sides may lie apart


def forks(sources: Sequence[tuple[Source, tuple[PublicKey, ...]]]) -> Iterator[Finding]:
    """Copies of one book, taken at different times, must begin alike.  Each source comes with who held it."""
    for (one, held), (other, also_held) in combinations(sources, 2):
        if not set(held) & set(also_held):
            continue
        for mine, theirs in zip(one.entries, other.entries, strict=False):
            if mine.hash != theirs.hash:
                text = f"entry {mine.sequence} is another than in {other.name}: the book was rewritten in between"
                yield Finding(Code.FORKED, one.name, mine.sequence, text)
                break


def cross_check(
    hospitals: Sequence[HospitalBook], journals: Sequence[JournalBook]
) -> tuple[list[Finding], list[Note]]:
    """Compare every ledger that could be read with every journal that could be."""
    findings: list[Finding] = []
    notes: list[Note] = []
    read = [journal for journal in journals if journal.read]
    for hospital in hospitals:
        if not hospital.read or hospital.hospital is None:
            continue
        notes += _unacknowledged(hospital)
        if not read:
            continue
        knowing = [journal for journal in read if _enrolled(hospital, journal)]
        if not knowing:
            findings.append(_not_enrolled(hospital, read))
        for journal in knowing:
            findings += _accepted(hospital, journal)
            findings += _receipts(hospital, journal)
    for journal in read:
        known = {hospital.hospital for hospital in hospitals}
        missing = sorted(set(journal.enrolled) - known)
        if missing and hospitals:
            notes.append(Note(journal.source.name, f"no ledger was given of {', '.join(missing)}"))
    return findings, notes


def _enrolled(hospital: HospitalBook, journal: JournalBook) -> bool:
    """Whether the journal enrolled a key that held this ledger, under this hospital's name."""
    return bool(set(journal.enrolled.get(str(hospital.hospital), ())) & set(hospital.chain.keys))


def _not_enrolled(hospital: HospitalBook, journals: Sequence[JournalBook]) -> Finding:
    keys = ", ".join(key.fingerprint for key in hospital.chain.keys)
    books = ", ".join(journal.source.name for journal in journals)
    text = f"no key that held this ledger ({keys}) is enrolled as {hospital.hospital!r} in {books}"
    return Finding(Code.NOT_ENROLLED, hospital.source.name, None, text)


def _unacknowledged(hospital: HospitalBook) -> Iterator[Note]:
    acknowledged = {(receipt.campaign, receipt.round) for _, receipt in hospital.receipts}
    rounds = [
        f"{p.round} of {p.campaign}"
        for p in hospital.payments
        if p.purpose == TRAINING and (p.campaign, p.round) not in acknowledged
    ]
    if rounds:
        text = f"paid for, and not acknowledged by the coordinator: round {', '.join(rounds)}"
        yield Note(hospital.source.name, text)


def _accepted(hospital: HospitalBook, journal: JournalBook) -> Iterator[Finding]:
    """Every release that counted was paid for, as the coordinator asked, and when it asked."""
    paid = {(p.campaign, p.round, p.purpose): p for p in hospital.payments}
    for held in journal.rounds:
        verdicts = [v for v in held.verdicts if v.hospital == hospital.hospital and v.accepted]
        payment = paid.get((held.campaign, held.number, held.purpose))
        unpaid = [v for v in verdicts if payment is None or payment.releases.get(str(v.expert)) != v.release]
        for verdict in unpaid:
            yield _unpaid(hospital, journal, held, verdict)
        if payment is not None and verdicts and len(unpaid) < len(verdicts):
            yield from _compared(hospital, journal, held, payment, verdicts)


def _unpaid(hospital: HospitalBook, journal: JournalBook, held: Round, verdict: Verdict) -> Finding:
    what = (
        f"{journal.source.name}, entry {held.entry}, accepted release {verdict.release[:12]} for {verdict.expert} in "
        f"{_named(held)}"
    )
    last = hospital.account.last
    if last is None or (_moment(last.at) < _moment(held.committed) and not _holds(hospital, held)):
        written = hospital.source.written_at
        newer = (
            "" if written is None else f"; if it was only written too early ({written}), ask for a newer one"
        )
        text = f"the ledger ends before it, and was cut short or rewritten: {what}{newer}"
        return Finding(Code.CUT_SHORT, hospital.source.name, None, text)
    return Finding(Code.NOT_PAID, hospital.source.name, None, f"nothing in the ledger paid for it: {what}")


def _holds(hospital: HospitalBook, held: Round) -> bool:
    """Whether the ledger paid for this round at all."""
    this = (held.campaign, held.number, held.purpose)
    return any((p.campaign, p.round, p.purpose) == this for p in hospital.payments)


def _compared(
    hospital: HospitalBook, journal: JournalBook, held: Round, payment: Payment, verdicts: Sequence[Verdict]
) -> Iterator[Finding]:
    book, what = hospital.source.name, _named(held)
    theirs = f"{journal.source.name}, entry {held.entry}"
    if payment.plan != held.plan:
        text = f"{what} was paid for under plan {payment.plan[:12]}, and {theirs}, asked for {held.plan[:12]}"
        yield Finding(Code.PLAN_MISMATCH, book, payment.reserved_in, text)
    if held.event is not None and payment.event != held.event:
        text = f"{what} was charged as {_said(payment.event)}, and {theirs}, asked for {_said(held.event)}"
        yield Finding(Code.EVENT_MISMATCH, book, payment.reserved_in, text)
    if any(verdict.reservation != payment.reservation for verdict in verdicts):
        text = (
            f"{what}: the releases that {theirs}, accepted name another reservation: the ledger was rewritten"
        )
        yield Finding(Code.RESERVATION_MISMATCH, book, payment.reserved_in, text)
    begun = payment.reserved_at if held.opened is None else held.opened
    opened, committed = _moment(begun) - SKEW, _moment(held.committed) + SKEW
    if not opened <= _moment(payment.reserved_at) <= _moment(payment.spent_at) <= committed:
        text = (
            f"{what} was reserved at {payment.reserved_at} and spent at {payment.spent_at}, and {theirs}, opened it at "
            f"{begun} and committed it at {held.committed} (clocks may differ by {SKEW.seconds // 60} minutes)"
        )
        yield Finding(Code.OUT_OF_TIME, book, payment.spent_in, text)


def _receipts(hospital: HospitalBook, journal: JournalBook) -> Iterator[Finding]:
    """Every receipt says what the journal says."""
    rounds = {(held.campaign, held.number): held for held in journal.rounds if held.purpose == TRAINING}
    for sequence, receipt in hospital.receipts:
        held = rounds.get((receipt.campaign, receipt.round))
        what = f"{hospital.source.name}, entry {sequence}, is a receipt for round {receipt.round} of {receipt.campaign}"
        if held is None:
            text = (
                f"it lacks a round that its coordinator acknowledged, and was cut short or rewritten: {what}"
            )
            yield Finding(Code.CUT_SHORT, journal.source.name, None, text)
        elif not _agrees(receipt, held):
            text = f"{what}, which the journal's verdicts contradict"
            yield Finding(Code.RECEIPT_MISMATCH, journal.source.name, held.entry, text)


def _agrees(receipt: Receipt, held: Round) -> bool:
    verdicts = [v for v in held.verdicts if v.hospital == receipt.hospital and v.expert in EXPERTS]
    return (
        receipt.plan_hash == held.plan
        and receipt.releases == {str(v.expert): v.release for v in verdicts}
        and receipt.outcomes == {str(v.expert): _outcome(v.fault) for v in verdicts}
        and receipt.reservation == next((v.reservation for v in verdicts if v.accepted), None)
    )


def _outcome(fault: str | None) -> str:
    """A verdict as a receipt words it."""
    if fault is None:
        return ACCEPTED
    return fault if fault in set(ReleaseFault) else ReleaseFault.NOT_A_RELEASE


def _named(held: Round) -> str:
    what = "round" if held.purpose == TRAINING else "the evaluation after round"
    return f"{what} {held.number} of {held.campaign}"


def _said(event: Event) -> str:
    return f"{event.steps} steps at noise {event.noise_multiplier:g} and rate {event.sampling_rate:g}"


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at)

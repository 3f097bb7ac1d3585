"""Hospital against coordinator: each of the two signed its own book, so neither can mend the other's.

Where the two disagree, that is found; which of them is right their books alone do not prove.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from privacy.audit.findings import Code, Finding, Note
from privacy.audit.hospital import HospitalBook, Payment
from privacy.audit.journal import JournalBook, Round, Verdict
from privacy.codes import UNSIGNED, ReleaseFault
from privacy.egress_record import MASKED
from privacy.evaluation import EVALUATION
from privacy.ledger.entries import read_time
from privacy.mechanism import SHARED, Event
from privacy.plan import TRAINING
from privacy.receipt import ACCEPTED, ACKNOWLEDGED, Receipt

SKEW = timedelta(minutes=5)  # how far the clocks of the two sides may lie apart
_SIGNED = frozenset(ReleaseFault) - UNSIGNED
_UNDECIDED = "; two books disagree here, and these two do not prove which is right"


def cross_check(hospital: HospitalBook, journals: Sequence[JournalBook]) -> Iterator[Finding]:
    """Compare a ledger with every journal that enrolled a key that held it."""
    if not hospital.read:
        return
    known = [(journal, name) for journal in journals if (name := _enrolled(hospital, journal)) is not None]
    if journals and hospital.hospital not in {None, *(name for _, name in known)}:
        yield _not_enrolled(hospital, journals)
    for journal, name in known:
        yield from _sent(hospital, journal, name)
        yield from _receipts(hospital, journal)
    yield from _unlogged(hospital, [_arrived(journal, name) for journal, name in known])


def notes(hospital: HospitalBook, journals: Sequence[JournalBook]) -> Iterator[Note]:
    """What a ledger paid for, and nobody acknowledged or wrote down."""
    acknowledged = {(receipt.campaign, receipt.round) for _, receipt in hospital.receipts}
    rounds = [
        f"{p.round} of {p.campaign}"
        for p in hospital.payments
        if p.purpose == TRAINING and (p.campaign, p.round) not in acknowledged
    ]
    if rounds:
        text = f"paid for, and not acknowledged by the coordinator: round {', '.join(rounds)}"
        yield Note(hospital.source.name, text)
    for journal in journals:
        held = {(h.campaign, h.number) for h in journal.rounds if h.purpose == EVALUATION}
        lost = [
            f"{p.round} of {p.campaign}"
            for p in hospital.payments
            if p.purpose == EVALUATION and (p.campaign, p.round) not in held
        ]
        if lost and _enrolled(hospital, journal) is not None:
            text = f"paid for, and not in {journal.source.name}: the evaluation after round {', '.join(lost)}"
            yield Note(hospital.source.name, text)


def absent(journal: JournalBook, hospitals: Sequence[HospitalBook]) -> Iterator[Finding | Note]:
    """Hospitals of which no ledger was given: a note; or a finding, where an empty one was."""
    here = {_enrolled(hospital, journal) for hospital in hospitals} | {h.hospital for h in hospitals}
    missing = sorted(set(journal.enrolled) - here)
    if missing and hospitals:
        yield Note(journal.source.name, f"no ledger was given of {', '.join(missing)}")
    held = {key for hospital in hospitals for key in hospital.chain.keys}
    before = [
        n
        for n, keys in journal.enrolled.items()
        if n in here and not held.issuperset(journal.revoked & {*keys})
    ]
    if before:
        text = f"of {', '.join(sorted(before))} no ledger was given under the keys from before it was revoked"
        yield Note(journal.source.name, text)
    paid = {v.hospital for held in journal.rounds for v in held.verdicts if v.accepted} & set(missing)
    for hospital in hospitals:
        if hospital.read and not hospital.source.entries and paid:
            text = (
                f"it is empty, and {journal.source.name} accepted releases of {', '.join(sorted(paid))}, whose ledger "
                "was not given: its entries were removed; or, if it is another hospital's, ask for theirs"
            )
            yield Finding(Code.CUT_SHORT, hospital.source.name, None, text)


def _enrolled(hospital: HospitalBook, journal: JournalBook) -> str | None:
    """The name under which the journal enrolled a key that held this ledger, whatever the ledger calls itself."""
    held = set(hospital.chain.keys)
    return next((name for name, keys in journal.enrolled.items() if held & set(keys)), None)


def _not_enrolled(hospital: HospitalBook, journals: Sequence[JournalBook]) -> Finding:
    keys = ", ".join(key.fingerprint for key in hospital.chain.keys)
    books = ", ".join(journal.source.name for journal in journals)
    text = f"no key that held this ledger ({keys}) is enrolled as {hospital.hospital!r} in {books}"
    return Finding(Code.NOT_ENROLLED, hospital.source.name, None, text)


def _sent(hospital: HospitalBook, journal: JournalBook, name: str) -> Iterator[Finding]:
    """What the coordinator has, signed by the hospital, was paid for; what counted, as it asked, and when it asked."""
    paid = {(p.campaign, p.round, p.purpose): p for p in hospital.payments}
    sealed = {release for payment in hospital.payments for release in payment.releases.values()}
    for held in journal.rounds:
        if _of_an_earlier_enrolment(hospital, journal, held, name):
            continue
        mine = [verdict for verdict in held.verdicts if verdict.hospital == name]
        payment = paid.get((held.campaign, held.number, held.purpose))
        accepted = [v for v in mine if v.accepted]
        unpaid = [v for v in accepted if payment is None or payment.releases.get(str(v.expert)) != v.release]
        refused = [v for v in mine if v.fault in _SIGNED and v.release not in sealed]
        for verdict in (*unpaid, *refused):
            yield _unpaid(hospital, journal, held, verdict)
        if payment is not None and len(unpaid) < len(accepted):
            yield from _compared(hospital, journal, held, payment, accepted)


def _of_an_earlier_enrolment(hospital: HospitalBook, journal: JournalBook, held: Round, name: str) -> bool:
    """Whether the hospital was revoked after this round, and enrolled again with keys of a new ledger: this one."""
    then = set(held.keys.get(name, ()))
    return bool(then) and then <= journal.revoked and journal.revoked.isdisjoint(hospital.chain.keys)


def _unpaid(hospital: HospitalBook, journal: JournalBook, held: Round, verdict: Verdict) -> Finding:
    became = "accepted" if verdict.accepted else f"checked, and refused as {verdict.fault},"
    what = (
        f"{journal.source.name}, entry {held.entry}, {became} release {verdict.release[:12]} for {verdict.expert} in "
        f"{_named(held)}{_UNDECIDED}"
    )
    last = hospital.account.last
    if last is None or (read_time(last.at) < read_time(held.committed) and not _holds(hospital, held)):
        written = hospital.source.written_at
        newer = (
            "" if written is None else f"; if it was only written too early ({written}), ask for a newer one"
        )
        text = f"the ledger ends before it, and was cut short or rewritten: {what}{newer}"
        return Finding(Code.CUT_SHORT, hospital.source.name, None, text)
    return Finding(Code.NOT_PAID, hospital.source.name, None, f"nothing in the ledger paid for it: {what}")


def _arrived(journal: JournalBook, name: str) -> set[str]:
    return {v.release for held in journal.rounds for v in held.verdicts if v.hospital == name}


def _unlogged(hospital: HospitalBook, journals: Sequence[set[str]]) -> Iterator[Finding]:
    """What arrived at the coordinator must be in the log of what left."""
    arrived = {sha256 for _, receipt in hospital.receipts for sha256 in receipt.releases.values()}.union(
        *journals
    )
    for payment in hospital.payments:
        lost = [
            n
            for n, sha256 in payment.releases.items()
            if sha256 in arrived and (n, sha256) not in hospital.left
        ]
        if lost:
            text = (
                f"{', '.join(lost)} of round {payment.round} of {payment.campaign} arrived at the coordinator, and no "
                "entry says that it left"
            )
            yield Finding(Code.NOT_LOGGED, hospital.source.name, payment.spent_in, text)


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
        text = f"{what} was paid for under plan {payment.plan[:12]}, and {theirs}, asked for {held.plan[:12]}{_UNDECIDED}"
        yield Finding(Code.PLAN_MISMATCH, book, payment.reserved_in, text)
    if payment.event != held.event:
        text = f"{what} was charged as {_said(payment.event)}, and {theirs}, asked for {_said(held.event)}"
        text += _UNDECIDED
        yield Finding(Code.EVENT_MISMATCH, book, payment.reserved_in, text)
    if any(v.reservation != payment.reservation for v in verdicts if v.expert != MASKED):  # those name none
        text = (
            f"{what}: the releases that {theirs}, accepted name another reservation: the ledger was rewritten"
        )
        yield Finding(Code.RESERVATION_MISMATCH, book, payment.reserved_in, text)
    opened, committed = read_time(held.opened) - SKEW, read_time(held.committed) + SKEW
    if not opened <= read_time(payment.reserved_at) <= read_time(payment.spent_at) <= committed:
        text = (
            f"{what} was reserved at {payment.reserved_at} and spent at {payment.spent_at}, and {theirs}, opened it at "
            f"{held.opened} and committed it at {held.committed} (clocks may differ by {SKEW.seconds // 60} minutes)"
            f"{_UNDECIDED}"
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
    verdicts = [v for v in held.verdicts if v.hospital == receipt.hospital and v.expert in ACKNOWLEDGED]
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
    shared = " of all shares" if event.mechanism == SHARED else ""
    return f"{event.steps} steps at noise {event.noise_multiplier:g}{shared} and rate {event.sampling_rate:g}"

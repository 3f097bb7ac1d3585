"""A hospital's ledger, read on from a chain that holds: was every step legal, and what was paid for?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from privacy.audit.chain import Chain
from privacy.audit.findings import Code, Finding, Note
from privacy.audit.sources import Source
from privacy.egress_record import RELEASE, is_sealed
from privacy.errors import KeyFileError, LedgerError, SignatureInvalid, WireError
from privacy.evaluation import EVALUATION
from privacy.keys import PublicKey
from privacy.ledger.account import Account
from privacy.ledger.entries import Entry, Kind
from privacy.mechanism import Event
from privacy.plan import TRAINING
from privacy.receipt import Receipt


@dataclass(frozen=True)
class Payment:
    """A reservation that was spent.  `releases` maps what was sealed to its SHA-256; entries are by number."""

    campaign: str
    round: int
    purpose: str
    plan: str
    code: str
    event: Event
    reservation: str
    reserved_at: str
    reserved_in: int
    spent_at: str
    spent_in: int
    releases: Mapping[str, str]


@dataclass(frozen=True)
class HospitalBook:
    """A ledger as it was read: the account after its last legal entry, what was paid for, and its receipts.

    `read` is false where the chain does not hold: then nothing but the chain was judged.
    """

    source: Source
    chain: Chain
    read: bool
    account: Account = field(default_factory=Account)
    entries: tuple[Entry, ...] = ()  # the legal ones
    payments: tuple[Payment, ...] = ()
    receipts: tuple[tuple[int, Receipt], ...] = ()  # by entry
    left: frozenset[tuple[str, str]] = (
        frozenset()
    )  # name and SHA-256 of every sealed part that its log says left
    findings: tuple[Finding, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def hospital(self) -> str | None:
        """The name that it gives itself, in its policy; None before it adopted one, or where that is no name."""
        name = None if self.account.policy is None else self.account.policy.get("hospital")
        return name if isinstance(name, str) else None


def read_ledger(source: Source, chain: Chain, coordinators: Collection[PublicKey]) -> HospitalBook:
    """Follow the ledger's entries.  `coordinators` are the keys that receipts are signed with, and replies go to; none:
    not known.
    """
    if not chain.intact:
        note = Note(source.name, "its history was not read on, as the chain does not hold: mend that first")
        return HospitalBook(source, chain, read=False, notes=(note,))
    walk = _Walk(source.name, coordinators)
    for entry in source.entries:
        walk.step(entry)
    findings, notes = list(walk.findings), []
    paid = {payment.reservation for payment in walk.payments}
    if source.kept is not None and source.kept != paid:
        text = "kept releases and spend entries don't match: entries were removed, or releases"
        findings.append(Finding(Code.KEPT_RELEASES, source.name, None, text))
    if (walk.receipts or walk.left) and not coordinators:
        text = "whose receipts it holds, and to whom its replies went, was not checked: give the coordinator's key"
        notes.append(Note(source.name, text))
    return HospitalBook(
        source,
        chain,
        True,
        walk.account,
        tuple(walk.legal),
        tuple(walk.payments),
        tuple(walk.receipts),
        frozenset(walk.left),
        tuple(findings),
        tuple(notes),
    )


class _Walk:
    """From legal entry to legal entry; `Account.after` is the law.  An illegal one changes nothing."""

    def __init__(self, book: str, coordinators: Collection[PublicKey]) -> None:
        self.account = Account()
        self.legal: list[Entry] = []
        self.payments: list[Payment] = []
        self.receipts: list[tuple[int, Receipt]] = []
        self.left: set[tuple[str, str]] = set()
        self.findings: list[Finding] = []
        self._book = book
        self._coordinators = set(coordinators)
        self._reserved: dict[str, Entry] = {}

    def step(self, entry: Entry) -> None:
        """Take one entry in, or say why not."""
        forged = self._forged(entry) if entry.kind == Kind.RECEIPT else None
        if forged is not None:
            self._find(Code.FORGED_RECEIPT, entry, forged)
            return
        try:
            self.account = self.account.after(entry)
        except LedgerError as error:
            code = Code.RECEIPT_CONTRADICTS if entry.kind == Kind.RECEIPT else Code.ILLEGAL_ENTRY
            self._find(code, entry, str(error))
            return
        self.legal.append(entry)
        if entry.kind == Kind.RESERVATION:
            self._reserved[entry.hash] = entry
        elif entry.kind == Kind.SPEND:
            self.payments.append(_payment(self._reserved[entry.body["reservation"]], entry))
        elif entry.kind == Kind.RECEIPT:
            self.receipts.append((entry.sequence, Receipt.from_dict(entry.body["receipt"])))
        elif entry.kind == Kind.RELEASE:
            self._reply(entry)
        elif entry.kind == Kind.SUCCESSION:
            self._succession(entry)

    def _reply(self, entry: Entry) -> None:
        sealed = [part for part in entry.body["parts"] if is_sealed(part["name"])]
        self.left |= {(part["name"].removeprefix(RELEASE), part["sha256"]) for part in sealed}
        to = entry.body["destination"]
        if self._coordinators and to not in {key.raw.hex() for key in self._coordinators}:
            text = f"entry {entry.sequence} says that a reply went to the key {to[:16]}..., which is no coordinator's"
            self._find(Code.SENT_ELSEWHERE, entry, text)

    def _succession(self, entry: Entry) -> None:
        """A key that a coordinator's handed over to is one too; that it did, the law has verified."""
        old, new = (PublicKey(bytes.fromhex(entry.body[name])) for name in ("old", "new"))
        if old in self._coordinators:
            self._coordinators.add(new)

    def _forged(self, entry: Entry) -> str | None:
        """Why a receipt is not the coordinator's; None where it is, or where its form is for the law to judge."""
        try:
            signer = PublicKey(bytes.fromhex(entry.body["coordinator"]))
            Receipt.open(bytes.fromhex(entry.body["signed"]), signer)
        except SignatureInvalid as error:
            return f"entry {entry.sequence} holds a forged receipt: {error}"
        except (KeyError, TypeError, ValueError, AttributeError, WireError, KeyFileError):
            return None
        if self._coordinators and signer not in self._coordinators:
            return f"entry {entry.sequence} holds a receipt signed by {signer.fingerprint}, which is no coordinator's key"
        return None

    def _find(self, code: Code, entry: Entry, text: str) -> None:
        self.findings.append(Finding(code, self._book, entry.sequence, text))


def _payment(reserved: Entry, spent: Entry) -> Payment:
    body = reserved.body
    return Payment(
        campaign=body["campaign"],
        round=body["round"],
        purpose=EVALUATION if body["stage"] == EVALUATION else TRAINING,
        plan=body["plan"],
        code=body["code"],
        event=Event.from_dict(body["event"]),
        reservation=reserved.hash,
        reserved_at=reserved.at,
        reserved_in=reserved.sequence,
        spent_at=spent.at,
        spent_in=spent.sequence,
        releases={name: part["sha256"] for name, part in spent.body["releases"].items()},
    )

"""What a ledger's entries amount to: a pure state machine.

The legal order, for each campaign's round, and apart from it for the evaluation after that round:

    reservation ──> spend ──> release, any number of times: always the bytes that were paid for
         │                └─> receipt, once
         └────────> void      nothing was sealed, so nothing of it can be sent; the round may be reserved again

A reservation counts against the budget from the moment it is written, for good. Voiding gives nothing back: that a
round failed, and when, is known to who asked for it, and may depend on who was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from privacy import canonical
from privacy.egress_record import CODE, DESCRIPTION, FREE_OF_DATA, METRICS, RELEASE, is_sealed
from privacy.errors import KeyFileError, LedgerError, MechanismError, SignatureInvalid, WireError
from privacy.evaluation import EVALUATION
from privacy.handover import Handover, successors
from privacy.keys import PublicKey, Purpose
from privacy.ledger.entries import Entry, Kind
from privacy.ledger.forms import check_form
from privacy.mechanism import Event
from privacy.plan import TRAINING
from privacy.receipt import Receipt

_HERE = object()

Key = tuple[str, int, str]  # campaign, round, purpose


@dataclass(frozen=True)
class Reservation:
    """Leave to answer one request, paid for.  `hash` is its ledger entry's.  Made from ledger entries only.

    `stage` is that of the plan, or "evaluation"; then `round` is the last one before it, and `plan_hash` the
    hash of the evaluation's request.  `day` is the date (UTC) on which it was reserved, which is the day that it
    counts against; `policy_hash` and `max_rank` are of the policy under which it was.
    """

    hash: str
    campaign: str
    round: int
    stage: str
    experts: tuple[str, ...]
    base_hash: str
    plan_hash: str
    code_hash: str
    day: str
    event: Event
    max_rank: int | None
    policy_hash: str
    made_by: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.made_by is not _HERE:
            raise LedgerError("a Reservation comes from the ledger only: nothing else has paid")

    @property
    def purpose(self) -> str:
        """What it pays for: "training" or "evaluation"."""
        return EVALUATION if self.stage == EVALUATION else TRAINING

    @property
    def key(self) -> Key:
        """What is paid for once: a campaign's round, and the evaluation after it."""
        return self.campaign, self.round, self.purpose


@dataclass(frozen=True)
class Spend:
    """A paid and answered request: the SHA-256 and bytes of what was sealed, and its entry's place.

    By expert for a round; an evaluation has the one name "counts", a round under distributed trust "masked".
    """

    reservation: Reservation
    releases: Mapping[str, str]
    sizes: Mapping[str, int]
    sequence: int


@dataclass(frozen=True)
class Selftest:
    """What a self-test of the release path found, for the code that it ran under."""

    passed: bool
    code_hash: str
    findings: tuple[str, ...]
    at: str


@dataclass(frozen=True)
class Installed:
    """An installation of FedPath: its code's hash, and the version that it says it is, where that was recorded."""

    code: str
    version: str | None


@dataclass(frozen=True)
class Account:
    """The state after some entries.  Immutable: `after` gives the next."""

    last: Entry | None = None
    policy: Mapping[str, Any] | None = None
    policy_hash: str | None = None
    open: Mapping[str, Reservation] = field(default_factory=dict)  # by reservation hash
    spent: Mapping[Key, Spend] = field(default_factory=dict)
    closed: tuple[Reservation, ...] = ()  # spent and voided, in the order of their closing
    paid: Mapping[tuple[str, str], int] = field(default_factory=dict)  # sealed bytes: name, SHA-256; how many
    voided: int = 0
    refused: int = 0
    replies: int = 0
    withdrawn: int = 0
    receipts: frozenset[tuple[str, int]] = frozenset()
    rotations: tuple[
        tuple[int, str], ...
    ] = ()  # the place of each, and the key that held the ledger until then
    successions: frozenset[tuple[str, str]] = frozenset()  # of the coordinator's keys: old, new
    selftests: Mapping[str, Selftest] = field(default_factory=dict)  # the last one of each code, by its hash
    approved: frozenset[str] = frozenset()  # campaigns, by the hospital's own word
    code: str | None = None  # the one that was last installed or reserved under
    version: str | None = None  # of that code, where it was said

    def after(self, entry: Entry) -> Account:
        """The state after one more entry, whose place in the chain was checked.  Raises `LedgerError`."""
        check_form(entry)
        try:
            return replace(_STEPS[entry.kind](self, entry), last=entry)
        except (KeyError, TypeError, AttributeError, MechanismError, WireError, KeyFileError) as error:
            raise LedgerError(
                f"ledger entry {entry.sequence} ({entry.kind}) is malformed: {error!r}"
            ) from error

    def charges(self) -> tuple[Reservation, ...]:
        """All that counts against the budget: what is closed, in that order, then what is reserved."""
        return (*self.closed, *self.open.values())

    def campaigns(self) -> tuple[str, ...]:
        """Every campaign that was paid for, in order of its first round."""
        return tuple(dict.fromkeys(charge.campaign for charge in self.charges()))

    def events(self) -> tuple[Event, ...]:
        """The events of `charges`."""
        return tuple(charge.event for charge in self.charges())


def _policy(account: Account, entry: Entry) -> Account:
    policy = entry.body["policy"]
    return replace(account, policy=policy, policy_hash=canonical.digest(canonical.encode(policy)))


def _reservation(account: Account, entry: Entry) -> Account:
    body = entry.body
    if body["policy"] != account.policy_hash:
        raise LedgerError(f"ledger entry {entry.sequence} reserves under a policy that was not adopted")
    reservation = Reservation(
        hash=entry.hash,
        campaign=body["campaign"],
        round=body["round"],
        stage=body["stage"],
        experts=tuple(body["experts"]),
        base_hash=body["base"],
        plan_hash=body["plan"],
        code_hash=body["code"],
        day=entry.at[:10],
        event=Event.from_dict(body["event"]),
        max_rank=None if account.policy is None else account.policy.get("max_rank"),
        policy_hash=body["policy"],
        made_by=_HERE,
    )
    if reservation.key in {held.key for held in account.open.values()} | account.spent.keys():
        raise LedgerError(f"ledger entry {entry.sequence} reserves a round that is reserved or spent")
    version = account.version if account.code == reservation.code_hash else None
    return replace(
        account,
        open={**account.open, entry.hash: reservation},
        code=reservation.code_hash,
        version=version,
    )


def _close(account: Account, entry: Entry) -> tuple[Reservation, dict[str, Reservation]]:
    still_open = dict(account.open)
    reservation = still_open.pop(entry.body["reservation"], None)
    if reservation is None:
        raise LedgerError(
            f"ledger entry {entry.sequence} ({entry.kind}) closes a reservation that is not open"
        )
    return reservation, still_open


def _spend(account: Account, entry: Entry) -> Account:
    reservation, still_open = _close(account, entry)
    parts = entry.body["releases"]
    spend = Spend(
        reservation,
        {expert: part["sha256"] for expert, part in parts.items()},
        {expert: part["bytes"] for expert, part in parts.items()},
        entry.sequence,
    )
    spent = {**account.spent, reservation.key: spend}
    paid = {(name, sha256): spend.sizes[name] for name, sha256 in spend.releases.items()}
    return replace(
        account,
        open=still_open,
        closed=(*account.closed, reservation),
        spent=spent,
        paid={**account.paid, **paid},
    )


def _void(account: Account, entry: Entry) -> Account:
    reservation, still_open = _close(account, entry)
    return replace(account, open=still_open, closed=(*account.closed, reservation), voided=account.voided + 1)


def _release(account: Account, entry: Entry) -> Account:
    """A reply holds what was paid for, of the very size; a code or the description; metrics of public data only."""
    public = account.policy is not None and account.policy.get("public_data") is True
    for part in entry.body["parts"]:
        name = part["name"]
        if is_sealed(name):
            if account.paid.get((name.removeprefix(RELEASE), part["sha256"])) != part["bytes"]:
                raise LedgerError(
                    f"ledger entry {entry.sequence} lets {name!r} leave, which was not paid for, or of another size"
                )
        elif name not in (CODE, DESCRIPTION, *FREE_OF_DATA) and not (name == METRICS and public):
            raise LedgerError(f"ledger entry {entry.sequence} lets {name!r} leave, which may not")
    return replace(account, replies=account.replies + 1)


def _receipt(account: Account, entry: Entry) -> Account:
    body = entry.body
    try:
        receipt = Receipt.open(bytes.fromhex(body["signed"]), PublicKey(bytes.fromhex(body["coordinator"])))
    except SignatureInvalid as error:
        raise LedgerError(f"ledger entry {entry.sequence} holds a forged receipt: {error}") from error
    if receipt.to_dict() != body["receipt"]:
        raise LedgerError(f"ledger entry {entry.sequence} says another thing than the receipt that it holds")
    key = (receipt.campaign, receipt.round)
    spend = account.spent.get((*key, TRAINING))
    if (
        spend is None
        or account.policy is None
        or receipt.hospital != account.policy["hospital"]
        or receipt.plan_hash != spend.reservation.plan_hash
        or not receipt.releases.items() <= spend.releases.items()
        or receipt.reservation not in (None, spend.reservation.hash)
    ):
        raise LedgerError(
            f"ledger entry {entry.sequence}: a receipt for round {receipt.round} of {receipt.campaign} "
            "that was not sent so"
        )
    return replace(account, receipts=account.receipts | {key})


def _refusal(account: Account, entry: Entry) -> Account:
    return replace(account, refused=account.refused + 1)


def _rotation(account: Account, entry: Entry) -> Account:
    return replace(account, rotations=(*account.rotations, (entry.sequence, entry.body["old"])))


def _succession(account: Account, entry: Entry) -> Account:
    name = entry.body["consortium"]
    handover = Handover.from_dict(name, {key: entry.body[key] for key in ("old", "new", "proof")})
    try:
        successors([handover], name, handover.old, Purpose.SUCCESSION)
    except SignatureInvalid as error:
        raise LedgerError(
            f"ledger entry {entry.sequence} follows a key that no one handed over: {error}"
        ) from error
    return replace(account, successions=account.successions | {(entry.body["old"], entry.body["new"])})


def _withdrawal(account: Account, entry: Entry) -> Account:
    return replace(account, withdrawn=entry.body["withdrawn"])


def _selftest(account: Account, entry: Entry) -> Account:
    body = entry.body
    found = Selftest(body["passed"], body["code"], tuple(body["findings"]), entry.at)
    return replace(account, selftests={**account.selftests, found.code_hash: found})


def _approval(account: Account, entry: Entry) -> Account:
    campaign = frozenset({entry.body["campaign"]})
    return replace(
        account,
        approved=account.approved | campaign if entry.body["approved"] else account.approved - campaign,
    )


def _upgrade(account: Account, entry: Entry) -> Account:
    before, after = entry.body["before"], entry.body["after"]
    if (None if before is None else before["code"]) != account.code:
        raise LedgerError(f"ledger entry {entry.sequence} upgrades code that was not at work")
    return replace(account, code=after["code"], version=after["version"])


_STEPS: Mapping[str, Callable[[Account, Entry], Account]] = {
    Kind.POLICY: _policy,
    Kind.RESERVATION: _reservation,
    Kind.SPEND: _spend,
    Kind.VOID: _void,
    Kind.RELEASE: _release,
    Kind.RECEIPT: _receipt,
    Kind.REFUSAL: _refusal,
    Kind.ROTATION: _rotation,
    Kind.SUCCESSION: _succession,
    Kind.WITHDRAWAL: _withdrawal,
    Kind.SELFTEST: _selftest,
    Kind.APPROVAL: _approval,
    Kind.UPGRADE: _upgrade,
}

"""The hospital's ledger: `Account` made durable.

    reserve -> (train, seal) -> spend -> (check, log, reply)

`reserve` is durable before training and `spend`, with the releases' bytes, before the reply; so whatever
instant the process dies at, what was sent is on record, and what is on record as unspent was never sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from privacy import accounting, canonical
from privacy.codes import Refusal
from privacy.egress import EgressRecord
from privacy.errors import LedgerError, RoundConflict
from privacy.keys import PrivateKey, PublicKey
from privacy.ledger.account import Account, Reservation
from privacy.ledger.database import Database, Transaction
from privacy.ledger.entries import Entry, Kind, check_chain, follow
from privacy.mechanism import Event
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.receipt import Receipt


@dataclass(frozen=True)
class Summary:
    """A ledger in figures.  `head` is the last entry's hash; `events` all that counts against the budget."""

    entries: int
    head: str | None
    spent: int
    reserved: int
    voided: int
    refused: int
    receipts: int
    events: tuple[Event, ...]


class Ledger:
    """One hospital's ledger.  Opening it verifies every entry (`LedgerError` names the first bad one).

    Any number of processes may open the same file; each change is one transaction that first reads what
    others wrote.
    """

    def __init__(
        self, path: Path, key: PrivateKey, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = Database(path)
        self._key = key
        self._clock = clock
        self._account = Account()
        with self._current() as (transaction, account):
            _check_outbox(transaction, account)

    def reserve(self, plan: Plan, policy: Policy, code_hash: str) -> Reservation:
        """Charge the plan's round, durably, before training.

        Raises `PlanRefused` (`BudgetError` with `rounds_left`, `RoundConflict`) and then writes nothing.
        """
        with self._current() as (transaction, account):
            account.admit(plan, policy)
            current = account
            if current.policy != policy.to_dict():
                current = self._append(transaction, current, Kind.POLICY, {"policy": policy.to_dict()})
            body = {
                "campaign": plan.campaign,
                "round": plan.round,
                "stage": plan.stage,
                "experts": list(plan.restricted(policy.experts)),
                "plan": plan.hash,
                "policy": policy.hash,
                "code": code_hash,
                "event": plan.event().to_dict(),
            }
            after = self._append(transaction, current, Kind.RESERVATION, body)
            (new,) = set(after.open) - set(account.open)
            return after.open[new]

    def spend(self, reservation: Reservation, releases: Mapping[str, bytes]) -> None:
        """Record that `releases` (by expert) are about to leave, with their bytes, durably, before the reply.

        Raises `LedgerError` where the reservation is not open any more, or where there is nothing to send.
        """
        if not releases:
            raise LedgerError("nothing to spend on: void the reservation instead")
        with self._current() as (transaction, account):
            digests = {expert: canonical.digest(data) for expert, data in releases.items()}
            body = {"reservation": reservation.hash, "releases": digests}
            self._append(transaction, account, Kind.SPEND, body)
            for expert, data in releases.items():
                transaction.put_release(reservation.hash, expert, data)

    def void(self, reservation: Reservation) -> None:
        """Give a reservation back, where training failed and so nothing was spent.  Raises `LedgerError`."""
        with self._current() as (transaction, account):
            self._append(transaction, account, Kind.VOID, {"reservation": reservation.hash})

    def void_unspent(self) -> int:
        """Void every open reservation, and return how many; for the agent's start only.

        Certain to be right there: a spend is durable before its reply, so an unspent reservation sent
        nothing; and an agent that should still be training finds its reservation closed when it would spend.
        """
        with self._current() as (transaction, account):
            current = account
            for reservation in account.open:
                current = self._append(transaction, current, Kind.VOID, {"reservation": reservation})
            return len(account.open)

    def sent(self, campaign: str, number: int, plan_hash: str) -> Mapping[str, bytes] | None:
        """The very bytes that answered this round before, by expert; None where it was not answered.

        Raises `RoundConflict` where it was answered under another plan, and `LedgerError` where the kept
        bytes are not those that were paid for.
        """
        with self._current() as (transaction, account):
            spend = account.spent.get((campaign, number))
            if spend is None:
                return None
            if spend.reservation.plan_hash != plan_hash:
                raise RoundConflict(f"round {number} of {campaign} was answered under another plan")
            releases = transaction.releases(spend.reservation.hash)
        if {expert: canonical.digest(data) for expert, data in releases.items()} != spend.releases:
            raise LedgerError(
                f"the kept releases of round {number} of {campaign} are not those that were paid for"
            )
        return releases

    def refuse(self, code: Refusal, plan_hash: str | None) -> None:
        """Record that a plan was refused (None: there was no readable plan)."""
        with self._current() as (transaction, account):
            self._append(transaction, account, Kind.REFUSAL, {"code": str(code), "plan": plan_hash})

    def receipt(self, data: bytes, coordinator: PublicKey) -> None:
        """Keep the coordinator's signed receipt; the same one again changes nothing.

        Raises `SignatureInvalid`, `WireError`, or `LedgerError` where it acknowledges what was not sent.
        """
        receipt = Receipt.open(data, coordinator)
        with self._current() as (transaction, account):
            key = (receipt.campaign, receipt.round)
            if key in account.receipts:
                return
            spend = account.spent.get(key)
            if spend is None or not receipt.releases.items() <= spend.releases.items():
                raise LedgerError(
                    f"a receipt for round {receipt.round} of {receipt.campaign} that was not sent so"
                )
            body = {
                "receipt": receipt.to_dict(),
                "signed": data.hex(),
                "coordinator": coordinator.fingerprint,
            }
            self._append(transaction, account, Kind.RECEIPT, body)

    def log_egress(self, records: Sequence[EgressRecord]) -> None:
        """Write to the egress log what is about to leave."""
        with self._database.transaction() as transaction:
            transaction.log_egress(self._clock(), records)

    def egress(self) -> list[tuple[str, EgressRecord]]:
        """All that left this hospital, oldest first, with its time."""
        with self._database.transaction() as transaction:
            return transaction.egress()

    def entries(self) -> list[Entry]:
        """All entries, verified."""
        return list(read(self._database, self._key.public)[0])

    def verify(self, public_key: PublicKey) -> None:
        """Raise `LedgerError`, naming the first bad entry, unless all are signed by this key and in order."""
        read(self._database, public_key)

    def epsilon(self, delta: float) -> float:
        """Epsilon of all that was spent or is reserved."""
        with self._current() as (_, account):
            return accounting.epsilon(account.events(), delta)

    def rounds_left(self, plan: Plan, policy: Policy) -> int:
        """How many rounds under the plan's mechanism the policy's budget still holds."""
        with self._current() as (_, account):
            events = account.events()
        return accounting.rounds_left(events, plan.event(), policy.epsilon_budget, policy.delta)

    def summary(self) -> Summary:
        """The ledger in figures, for the hospital's own eyes."""
        with self._current() as (_, account):
            return summarise(account)

    @contextmanager
    def _current(self) -> Iterator[tuple[Transaction, Account]]:
        """A transaction, and the account after all entries that are in the file."""
        with self._database.transaction() as transaction:
            self._account = _advance(transaction, self._account, self._key.public)
            yield transaction, self._account

    def _append(
        self, transaction: Transaction, account: Account, kind: Kind, body: Mapping[str, Any]
    ) -> Account:
        entry = follow(account.last, kind, self._clock(), body, self._key)
        after = account.after(entry)  # refuses before anything is written
        transaction.append(entry)
        return after


def read(database: Database, public_key: PublicKey) -> tuple[list[Entry], Account]:
    """Read and verify a whole ledger: chain, signatures, legal order, releases.  Raises `LedgerError`."""
    with database.transaction() as transaction:
        entries = transaction.entries_after(0)
        account = _advance(transaction, Account(), public_key)
        _check_outbox(transaction, account)
        return entries, account


def summarise(account: Account) -> Summary:
    """An account in figures."""
    return Summary(
        entries=0 if account.last is None else account.last.sequence,
        head=None if account.last is None else account.last.hash,
        spent=len(account.spent),
        reserved=len(account.open),
        voided=account.voided,
        refused=account.refused,
        receipts=len(account.receipts),
        events=account.events(),
    )


def _advance(transaction: Transaction, account: Account, public_key: PublicKey) -> Account:
    entries = transaction.entries_after(0 if account.last is None else account.last.sequence)
    check_chain(entries, public_key, account.last)
    for entry in entries:
        account = account.after(entry)
    return account


def _check_outbox(transaction: Transaction, account: Account) -> None:
    """Releases are stored together with their spend, so one without the other shows a ledger cut short."""
    paid = {spend.reservation.hash for spend in account.spent.values()}
    if transaction.reservations_in_outbox() != paid:
        raise LedgerError(
            "kept releases and spend entries don't match: entries were removed; restore a backup"
        )

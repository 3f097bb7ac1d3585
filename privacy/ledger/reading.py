"""A ledger as a reader has it: every entry verified, and what the entries amount to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from privacy.egress_record import EgressRecord
from privacy.errors import LedgerError
from privacy.keys import PublicKey
from privacy.ledger.account import Account
from privacy.ledger.database import Database, Transaction
from privacy.ledger.entries import Entry, Kind, check_chain, first_key
from privacy.mechanism import Event


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
    replies: int
    withdrawn: int
    rotations: int


@dataclass(frozen=True)
class Book:
    """Entries that were read and verified: what they amount to, and the key that signs what comes next."""

    account: Account
    signer: PublicKey

    @classmethod
    def of(cls, entries: Sequence[Entry], trusted: PublicKey) -> Book:
        """All of a ledger's entries, verified under any key that the ledger ever had.  Raises `LedgerError`."""
        return cls(Account(), first_key(entries, trusted)).plus(entries)

    @classmethod
    def open(cls, transaction: Transaction, trusted: PublicKey) -> Book:
        """All that the database holds.  Raises `LedgerError`."""
        return cls.of(transaction.entries_after(0), trusted)

    def plus(self, entries: Sequence[Entry]) -> Book:
        """This, and further entries, verified.  Raises `LedgerError`."""
        signer = check_chain(entries, self.signer, self.account.last)
        account = self.account
        for entry in entries:
            account = account.after(entry)
        return replace(self, account=account, signer=signer)

    def continued(self, transaction: Transaction) -> Book:
        """This, and all that others have written since.  Raises `LedgerError`."""
        last = self.account.last
        return self.plus(transaction.entries_after(0 if last is None else last.sequence))

    def check_outbox(self, transaction: Transaction) -> None:
        """Releases are stored together with their spend, so one without the other shows a ledger cut short."""
        paid = {spend.reservation.hash for spend in self.account.spent.values()}
        if transaction.reservations_in_outbox() != paid:
            raise LedgerError(
                "kept releases and spend entries don't match: entries were removed; restore a backup"
            )


def read(database: Database, public_key: PublicKey) -> tuple[list[Entry], Account]:
    """Read and verify a whole ledger: chain, signatures, legal order, releases.  Raises `LedgerError`."""
    with database.transaction() as transaction:
        entries = transaction.entries_after(0)
        book = Book.of(entries, public_key)
        book.check_outbox(transaction)
        return entries, book.account


def holder(database: Database, trusted: PublicKey) -> PublicKey:
    """The key that signs this ledger's next entry; `trusted` is one that it ever had.  Raises `LedgerError`."""
    with database.transaction() as transaction:
        return Book.open(transaction, trusted).signer


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
        replies=account.replies,
        withdrawn=account.withdrawn,
        rotations=len(account.rotations),
    )


def departures(entries: Sequence[Entry]) -> list[tuple[str, EgressRecord]]:
    """The egress log that these entries hold: every part of every reply, oldest first, with its time."""
    return [
        (
            entry.at,
            EgressRecord(
                part["name"],
                part["sha256"],
                part["bytes"],
                math.inf if entry.body["epsilon"] is None else entry.body["epsilon"],
                entry.body["destination"],
            ),
        )
        for entry in entries
        if entry.kind == Kind.RELEASE
        for part in entry.body["parts"]
    ]

"""The hospital's ledger as the page reads it: verified, under the public key alone, and never written."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from privacy.keys import PublicKey
from privacy.ledger import budget
from privacy.ledger.account import Account
from privacy.ledger.budget import Compositions, Limit
from privacy.ledger.database import Database
from privacy.ledger.entries import Entry
from privacy.ledger.reading import Book
from privacy.plan import TRAINING
from privacy.policy import Policy


class PageBook:
    """Reads what was added since it was last asked; each entry is verified once."""

    def __init__(self, place: Path | str, key: PublicKey) -> None:
        self._database = Database(place)
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._composed = Compositions()
        with self._database.transaction() as transaction:
            self._book = Book.open(transaction, key)
            self._entries = transaction.entries_after(0)

    def now(self) -> tuple[Account, Sequence[Entry]]:
        """The account, and all entries. Raises `LedgerError`."""
        with self._lock, self._database.transaction() as transaction:
            last = self._entries[-1].sequence if self._entries else 0
            more = transaction.entries_after(last)
            self._book = self._book.plus(more)
            self._entries = [*self._entries, *more]
            return self._book.account, self._entries

    def limits(self, account: Account, policy: Policy) -> tuple[Limit, ...]:
        """The policy's limits today, with what counts against each."""
        return budget.limits(account, policy, account.campaigns(), datetime.now(UTC))

    def epsilon(self, limit: Limit, delta: float) -> float:
        """What was spent of a limit."""
        with self._lock:
            return self._composed.of(limit.scope, limit.events).epsilon(delta)

    def rounds_left(self, account: Account, policy: Policy) -> int | None:
        """Rounds like the last one that every limit still holds; None before the first."""
        rounds = [charge for charge in account.charges() if charge.purpose == TRAINING]
        if not rounds:
            return None
        last = rounds[-1]
        with self._lock:
            return budget.rounds_left(
                account, last.campaign, last.event, policy, datetime.now(UTC), self._composed
            )

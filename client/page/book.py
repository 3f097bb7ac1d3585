"""The hospital's ledger as the page reads it: verified, under the public key alone, and never written."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from privacy.errors import LedgerError
from privacy.keys import PublicKey
from privacy.ledger.account import Account
from privacy.ledger.database import Database
from privacy.ledger.entries import Entry
from privacy.ledger.reading import Book

_TRIES = 3  # a writer may fold its log into the file at the very moment


@dataclass(frozen=True)
class Read:
    """A ledger at one moment."""

    account: Account
    entries: Sequence[Entry]


class PageBook:
    """Reads what was added since it was last asked; each entry is verified once. No lock of the agent's is waited for or
    touched: the file is opened to be read, anew each time.
    """

    def __init__(self, place: Path | str, key: PublicKey) -> None:
        self._place, self._key = place, key
        self._lock = threading.Lock()
        self._book: Book | None = None
        self._entries: list[Entry] = []

    def now(self) -> Read:
        """What it holds. Raises `LedgerError`."""
        with self._lock:
            for attempt in range(_TRIES):
                try:
                    return self._continued()
                except LedgerError:
                    if attempt == _TRIES - 1:
                        raise
            raise AssertionError("not reached")

    def _continued(self) -> Read:
        if isinstance(self._place, Path) and not self._place.exists():
            return Read(Account(), ())  # the agent makes it when it first starts
        last = self._entries[-1].sequence if self._entries else 0
        with Database(self._place, read_only=True).transaction() as transaction:
            more = transaction.entries_after(last)
        self._book = Book.of(more, self._key) if self._book is None else self._book.plus(more)
        if more:
            self._entries = [*self._entries, *more]
        return Read(self._book.account, self._entries)

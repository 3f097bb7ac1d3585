"""The ledger's database: reads and writes, in transactions that are durable when they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from privacy import canonical
from privacy.errors import LedgerError, WireError
from privacy.ledger.engine import named, open_engine
from privacy.ledger.entries import Entry
from privacy.ledger.schema import entries, outbox, prepare

MAX_BODY = 1 << 20
_TYPES = {
    "sequence": int,
    "kind": str,
    "at": str,
    "body": bytes,
    "previous": str,
    "hash": str,
    "signature": bytes,
    "format": int,
}


class Transaction:
    """Reads and writes that stand or fall together."""

    def __init__(self, connection: sql.Connection) -> None:
        self._connection = connection

    def entries_after(self, sequence: int) -> list[Entry]:
        """Entries in order; their chain is not checked here.  Raises `LedgerError` for a row that is no entry."""
        query = sql.select(entries).where(entries.c.sequence > sequence).order_by(entries.c.sequence)
        return [_entry(row) for row in self._connection.execute(query)]

    def append(self, entry: Entry) -> None:
        """Add an entry."""
        fields = {name: getattr(entry, name) for name in entry.__dataclass_fields__}
        self._connection.execute(entries.insert(), [{**fields, "body": canonical.encode(entry.body)}])

    def put_release(self, reservation: str, expert: str, data: bytes) -> None:
        """Keep a release's bytes, to send and to send again."""
        self._connection.execute(
            outbox.insert(), [{"reservation": reservation, "expert": expert, "data": data}]
        )

    def releases(self, reservation: str) -> dict[str, bytes]:
        """The bytes kept under a reservation, by expert."""
        query = sql.select(outbox.c.expert, outbox.c.data).where(outbox.c.reservation == reservation)
        found = {row.expert: row.data for row in self._connection.execute(query)}
        if not all(type(data) is bytes for data in found.values()):
            raise LedgerError("a kept release was changed after it was written: it is no bytes")
        return found

    def reservations_in_outbox(self) -> set[str]:
        """Every reservation under which bytes are kept."""
        return set(self._connection.scalars(sql.select(outbox.c.reservation).distinct()))


class Database:
    """One SQLite file or PostgreSQL database.  A transaction that has ended survives a power cut."""

    def __init__(self, place: Path | str, *, read_only: bool = False) -> None:
        self._engine = open_engine(place, read_only=read_only)
        self._name = named(place)
        with self._guarded(), self._engine.begin() as connection:
            prepare(connection, read_only=read_only)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin (waiting for other processes), commit at the end, roll back on any error."""
        with self._guarded(), self._engine.begin() as connection:
            yield Transaction(connection)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cure = (
                "check the file, its rights, and the disk"
                if self._engine.dialect.name == "sqlite"
                else "check that the server runs; the agent has no network, and reaches it by its Unix socket only"
            )
            raise LedgerError(f"{self._name}: {error.__cause__ or error}: {cure}") from error


def _entry(row: sql.Row[Any]) -> Entry:
    """SQLite keeps any type in any column, so each is looked at."""
    changed = f"ledger entry {row.sequence!r} was changed after it was written"
    odd = [name for name, kind in _TYPES.items() if type(getattr(row, name)) is not kind]
    if odd:
        raise LedgerError(f"{changed}: {', '.join(odd)} of another type")
    try:
        body = canonical.decode(row.body, MAX_BODY)
    except WireError as error:
        raise LedgerError(f"{changed}: {error}") from error
    if not isinstance(body, dict):
        raise LedgerError(f"{changed}: its body is no table")
    return Entry(row.sequence, row.kind, row.at, body, row.previous, row.hash, row.signature, row.format)

"""The ledger's SQLite file: tables, and transactions that are durable when they end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from privacy import canonical
from privacy.egress import EgressRecord
from privacy.errors import LedgerError, WireError
from privacy.ledger.entries import Entry

_MAX_BODY = 1 << 20
_WAIT_SECONDS = 60

_tables = sql.MetaData()
_entries = sql.Table(
    "entries",
    _tables,
    sql.Column("sequence", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("kind", sql.String, nullable=False),
    sql.Column("at", sql.String, nullable=False),
    sql.Column("body", sql.LargeBinary, nullable=False),
    sql.Column("previous", sql.String, nullable=False),
    sql.Column("hash", sql.String, nullable=False, unique=True),
    sql.Column("signature", sql.LargeBinary, nullable=False),
)
_outbox = sql.Table(
    "outbox",
    _tables,
    sql.Column("reservation", sql.String, primary_key=True),
    sql.Column("expert", sql.String, primary_key=True),
    sql.Column("data", sql.LargeBinary, nullable=False),
)
_egress = sql.Table(
    "egress",
    _tables,
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("at", sql.String, nullable=False),
    sql.Column("name", sql.String, nullable=False),
    sql.Column("sha256", sql.String, nullable=False),
    sql.Column("bytes", sql.Integer, nullable=False),
    sql.Column("epsilon", sql.Float, nullable=False),
)


class Transaction:
    """Reads and writes that stand or fall together."""

    def __init__(self, connection: sql.Connection) -> None:
        self._connection = connection

    def entries_after(self, sequence: int) -> list[Entry]:
        """Entries in order; their chain is not checked here."""
        query = sql.select(_entries).where(_entries.c.sequence > sequence).order_by(_entries.c.sequence)
        return [
            Entry(row.sequence, row.kind, row.at, _body(row), row.previous, row.hash, row.signature)
            for row in self._connection.execute(query)
        ]

    def append(self, entry: Entry) -> None:
        """Add an entry."""
        fields = {name: getattr(entry, name) for name in entry.__dataclass_fields__}
        self._connection.execute(_entries.insert(), [{**fields, "body": canonical.encode(entry.body)}])

    def put_release(self, reservation: str, expert: str, data: bytes) -> None:
        """Keep a release's bytes, to send and to send again."""
        self._connection.execute(
            _outbox.insert(), [{"reservation": reservation, "expert": expert, "data": data}]
        )

    def releases(self, reservation: str) -> dict[str, bytes]:
        """The bytes kept under a reservation, by expert."""
        query = sql.select(_outbox.c.expert, _outbox.c.data).where(_outbox.c.reservation == reservation)
        return {row.expert: row.data for row in self._connection.execute(query)}

    def reservations_in_outbox(self) -> set[str]:
        """Every reservation under which bytes are kept."""
        return set(self._connection.scalars(sql.select(_outbox.c.reservation).distinct()))

    def log_egress(self, at: datetime, records: Sequence[EgressRecord]) -> None:
        """Write what is about to leave."""
        when = at.isoformat(timespec="seconds")
        rows = [{"at": when, **{n: getattr(r, n) for n in r.__dataclass_fields__}} for r in records]
        if rows:
            self._connection.execute(_egress.insert(), rows)

    def egress(self) -> list[tuple[str, EgressRecord]]:
        """All that left, oldest first, with its time."""
        rows = self._connection.execute(sql.select(_egress).order_by(_egress.c.number))
        return [(row.at, EgressRecord(row.name, row.sha256, row.bytes, row.epsilon)) for row in rows]


class Database:
    """One SQLite file.  A transaction that has ended survives a power cut (WAL, synchronous=FULL)."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        if read_only and not path.is_file():
            raise LedgerError(f"{path}: there is no ledger here")
        if not read_only:
            _touch(path)
        self._engine = sql.create_engine(_url(path, read_only), poolclass=sql.NullPool)
        sql.event.listen(self._engine, "connect", _on_connect if not read_only else _on_connect_read_only)
        sql.event.listen(self._engine, "begin", _on_begin if not read_only else _on_begin_read_only)
        if not read_only:
            with self._guarded(), self._engine.begin() as connection:
                _tables.create_all(connection)

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
            raise LedgerError(
                f"{self._path}: {error.__cause__ or error}: check the file, its rights, and the disk"
            ) from error


def _body(row: sql.Row[Any]) -> dict[str, object]:
    try:
        body = canonical.decode(row.body, _MAX_BODY)
    except (WireError, AttributeError, TypeError) as error:
        raise LedgerError(f"ledger entry {row.sequence} was changed after it was written: {error}") from error
    if not isinstance(body, dict):
        raise LedgerError(
            f"ledger entry {row.sequence} was changed after it was written: its body is no table"
        )
    return body


def _touch(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}: check the folder and who runs this") from error


def _url(path: Path, read_only: bool) -> sql.URL:
    if not read_only:
        return sql.URL.create("sqlite", database=str(path.absolute()))
    # Closed in good order, a file has no write-ahead log, and can be read where nothing may be written.
    log = path.with_name(path.name + "-wal")
    mode = {"mode": "ro"} if log.exists() and log.stat().st_size else {"immutable": "1"}
    return sql.URL.create("sqlite", database=path.absolute().as_uri(), query={**mode, "uri": "true"})


def _on_connect(connection: sql.PoolProxiedConnection, record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]  # we begin transactions ourselves
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_WAIT_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _on_connect_read_only(connection: sql.PoolProxiedConnection, record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]


def _on_begin(connection: sql.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _on_begin_read_only(connection: sql.Connection) -> None:
    connection.exec_driver_sql("BEGIN")

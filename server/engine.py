"""The two databases that may hold the consortium's store, opened so that writers queue.

SQLite: write-ahead log, BEGIN IMMEDIATE. PostgreSQL: READ COMMITTED behind an advisory lock, so that each transaction
reads all that those before it wrote. A lasting engine's transactions are durable when they end; a passing one's wait for
no disk.
"""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sql

from privacy.ledger import answering, postgresql
from privacy.ledger.postgresql import WAIT_SECONDS
from server.errors import StoreError

_LOCK = 0x636F6E736F727469  # "consorti": one writer at a time in each PostgreSQL database


def open_engine(place: Path | str, *, lasting: bool) -> sql.Engine:
    """An engine on a store's SQLite file (a `Path`) or PostgreSQL database (a URL). A missing file is made (mode 0600).

    Raises `StoreError`: no such folder, another kind of database, a password in the URL.
    """
    if isinstance(place, Path):
        return _sqlite(place, "FULL" if lasting else "NORMAL")
    return _postgresql(read_url(place), lasting=lasting)


def named(place: Path | str) -> str:
    """The place, as an error may name it."""
    return str(place) if isinstance(place, Path) else read_url(place).set(query={}).render_as_string()


def read_url(text: str) -> sql.URL:
    """A PostgreSQL database's URL. Raises `StoreError` for another kind of database, and for a password in it."""
    try:
        return postgresql.read_url(text, "store", "keys/database.pgpass, mode 0600 (docs/store.md)")
    except ValueError as error:
        raise StoreError(str(error)) from None


def _sqlite(path: Path, synchronous: str) -> sql.Engine:
    try:
        # never one that is there: closing it would drop the locks that this process' other connections hold on it
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: check the folder and who runs this") from error

    def on_connect(connection: sql.PoolProxiedConnection, record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # we begin transactions ourselves
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={WAIT_SECONDS * 1000}",
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    # A connection stays open from one transaction to the next: as the last one it would copy the write-ahead log back
    # and delete it when it closes, which costs more than most transactions.
    engine = sql.create_engine(sql.URL.create("sqlite", database=str(path.absolute())))
    sql.event.listen(engine, "connect", on_connect)
    sql.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _postgresql(url: sql.URL, *, lasting: bool) -> sql.Engine:
    def on_begin(connection: sql.Connection) -> None:
        if (unfit := postgresql.begin(connection, _LOCK, lasting=lasting)) is not None:
            raise StoreError(unfit)

    engine = sql.create_engine(
        url,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        connect_args=postgresql.arguments("consortium"),
    )
    answering.listen(engine)
    sql.event.listen(engine, "begin", on_begin)
    return engine

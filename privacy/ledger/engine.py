"""The two databases that may hold a ledger, opened so that an ended transaction is durable, and writers queue.

SQLite: write-ahead log, synchronous=FULL, BEGIN IMMEDIATE.  PostgreSQL: synchronous commit whatever the
server's default, READ COMMITTED behind an advisory lock, so that each transaction reads all that those before it
wrote.
"""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sql

from privacy.errors import LedgerError
from privacy.ledger import answering, postgresql
from privacy.ledger.postgresql import WAIT_SECONDS
from privacy.read_only import parameters

_LOCK = 0x66656470617468  # "fedpath": one writer at a time in each PostgreSQL database


def open_engine(place: Path | str, *, read_only: bool) -> sql.Engine:
    """An engine on a ledger's SQLite file (a `Path`) or PostgreSQL database (a URL).

    A missing file is made (mode 0600) unless `read_only`.  Raises `LedgerError`: no such file or folder, another
    kind of database, a password in the URL.
    """
    if isinstance(place, Path):
        return _sqlite(place, read_only)
    return _postgresql(_read_url(place), read_only)


def named(place: Path | str) -> str:
    """The place, as an error may name it."""
    return str(place) if isinstance(place, Path) else _read_url(place).set(query={}).render_as_string()


def _sqlite(path: Path, read_only: bool) -> sql.Engine:
    if read_only and not path.is_file():
        raise LedgerError(f"{path}: there is no ledger here")
    if not read_only:
        _touch(path)
    engine = sql.create_engine(_sqlite_url(path, read_only), poolclass=sql.NullPool)
    sql.event.listen(engine, "connect", _on_connect_read_only if read_only else _on_connect)
    sql.event.listen(engine, "begin", _on_begin_read_only if read_only else _on_begin)
    return engine


def _touch(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}: check the folder and who runs this") from error


def _sqlite_url(path: Path, read_only: bool) -> sql.URL:
    if not read_only:
        return sql.URL.create("sqlite", database=str(path.absolute()))
    query = {**parameters(path), "uri": "true"}
    return sql.URL.create("sqlite", database=path.absolute().as_uri(), query=query)


def _on_connect(connection: sql.PoolProxiedConnection, record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]  # we begin transactions ourselves
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={WAIT_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _on_connect_read_only(connection: sql.PoolProxiedConnection, record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]


def _on_begin(connection: sql.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _on_begin_read_only(connection: sql.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _read_url(text: str) -> sql.URL:
    try:
        return postgresql.read_url(text, "ledger", "keys/ledger.pgpass, mode 0600 (docs/ledger.md)")
    except ValueError as error:
        raise LedgerError(str(error)) from None


def _postgresql(url: sql.URL, read_only: bool) -> sql.Engine:
    level = "REPEATABLE READ" if read_only else "READ COMMITTED"
    engine = sql.create_engine(
        url,
        poolclass=sql.NullPool,
        isolation_level=level,
        hide_parameters=True,
        connect_args=postgresql.arguments("ledger"),
    )
    answering.listen(engine)
    if read_only:
        return engine.execution_options(postgresql_readonly=True)
    sql.event.listen(engine, "begin", _on_begin_postgresql)
    return engine


def _on_begin_postgresql(connection: sql.Connection) -> None:
    if (unfit := postgresql.begin(connection, _LOCK, lasting=True)) is not None:
        raise LedgerError(unfit)

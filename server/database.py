"""The consortium's database: transactions that wait for it, and are whole."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from server.clock import Clock, SystemClock
from server.engine import named, open_engine
from server.errors import DatabaseAway, StoreError, TransactionLost
from server.migrate import prepare
from server.tables import journal
from server.waiting import WaitingNote

_LOG = logging.getLogger("fedpath.store")
_PAUSE_S = 2.0
_NO_SUCH_ID = "22023"  # what a crash undid before its id reached the disk is "in the future" afterwards


@dataclass(frozen=True)
class Patience:
    """For how long a database that is away is waited for before a transaction begins, and where that is noted meanwhile."""

    seconds: float = 0.0
    clock: Clock = field(default_factory=SystemClock)
    note: WaitingNote | None = None


class Database:
    """One SQLite file or PostgreSQL database, which several processes may use; a transaction that has ended survives a
    power cut.

    Opening it brings its tables to their newest form, and waits for nobody. Raises `StoreError`.
    """

    def __init__(self, place: Path | str, patience: Patience | None = None) -> None:
        self._name = named(place)
        self._patience = Patience()
        self._lasting, self._passing = (open_engine(place, lasting=lasting) for lasting in (True, False))
        with self.transaction() as connection:
            prepare(connection)
        self._patience = patience or self._patience

    @contextmanager
    def transaction(self, *, lasting: bool = True) -> Iterator[sql.Connection]:
        """Begin (waiting for other processes, and for the database as long as there is patience), commit at the end, roll
        back on any error.

        One that need not be `lasting` waits for no disk: a power cut may undo it, whole, where no lasting one came after.
        Raises `DatabaseAway` when patience ends, and `TransactionLost` where the database went away in the transaction:
        nothing of it stands. Where it went away while it committed, it is asked, once it is back, what became of that.
        """
        with self._begun(self._lasting if lasting else self._passing) as connection:
            try:
                yield connection
                mark = _mark(connection)
            except SQLAlchemyError as error:
                raise self._told(error) from error
            try:
                connection.commit()
            except SQLAlchemyError as error:
                if mark is None or not self._stands(mark):
                    raise self._told(error) from error

    def is_new(self) -> bool:
        """Whether nothing was ever decided in it."""
        with self.transaction() as connection:
            return connection.execute(sql.select(journal).limit(1)).one_or_none() is None

    def _begun(self, engine: sql.Engine) -> sql.Connection:
        clock = self._patience.clock
        end = clock.monotonic() + self._patience.seconds
        with ExitStack() as waiting:
            while True:
                try:
                    return _begin(engine)
                except SQLAlchemyError as error:
                    if not _is_away(error):
                        raise StoreError(self._words(error)) from error
                    left = end - clock.monotonic()
                    if left <= 0:
                        raise DatabaseAway(self._words(error)) from error
                    _LOG.warning("%s; the campaign waits, for %.0f s at most", self._words(error), left)
                    if (note := self._patience.note) is not None and note.read() is None:
                        note.begin(clock.now(), left)
                        waiting.callback(note.end)
                clock.sleep(_PAUSE_S)

    def _stands(self, mark: str) -> bool:
        """Whether PostgreSQL committed the transaction that it called so."""
        while True:
            with self._begun(self._lasting) as connection:
                try:
                    query = sql.text("SELECT pg_xact_status(CAST(:mark AS xid8))")
                    status = connection.scalar(query, {"mark": mark})
                except SQLAlchemyError as error:
                    if _is_away(error):
                        continue  # gone again: `_begun` waits for it
                    if getattr(getattr(error, "orig", None), "sqlstate", None) == _NO_SUCH_ID:
                        return False
                    raise StoreError(self._words(error)) from error
            if status != "in progress":  # else its server process has not noticed yet that nobody listens
                return bool(status == "committed")
            self._patience.clock.sleep(_PAUSE_S)

    def _told(self, error: SQLAlchemyError) -> StoreError:
        return (TransactionLost if _is_away(error) else StoreError)(self._words(error))

    def _words(self, error: SQLAlchemyError) -> str:
        cure = (
            "check the file, its rights, and the disk"
            if self._lasting.dialect.name == "sqlite"
            else "check that the server runs, and that this user may use the database"
        )
        return f"{self._name}: {' '.join(str(error.__cause__ or error).split())}: {cure}"


def _begin(engine: sql.Engine) -> sql.Connection:
    connection = engine.connect()
    try:
        connection.begin()
    except BaseException:
        connection.close()
        raise
    return connection


def _mark(connection: sql.Connection) -> str | None:
    """What PostgreSQL calls a transaction that has written; None where there is nothing to ask after."""
    if connection.dialect.name == "sqlite":
        return None
    mark = connection.scalar(sql.text("SELECT CAST(pg_current_xact_id_if_assigned() AS text)"))
    return None if mark is None else str(mark)


def _is_away(error: SQLAlchemyError) -> bool:
    """Whether the database can't be had now, or is locked; it may be another time."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(cause, sqlite3.Error):
        return (getattr(cause, "sqlite_errorcode", 0) or 0) & 0xFF == sqlite3.SQLITE_BUSY
    return isinstance(error, OperationalError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )

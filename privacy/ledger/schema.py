"""The ledger's tables, and how a database comes to have them in their newest form.

The versions themselves are Alembic's: `migrations/versions`.  They are carried out when a ledger is opened, in
one transaction, so a crash leaves the old form or the new.
"""

from __future__ import annotations

import sqlalchemy as sql

from privacy.errors import LedgerError
from privacy.ledger.upgrade import LEDGER_VERSIONS, upgrade

HEAD = "0001"  # the newest version, as this fedpath writes it


class _Bytes(sql.LargeBinary):
    """Bytes, read as they lie there: SQLAlchemy's own reading makes of a number as many zeros."""

    cache_ok = True

    def result_processor(self, dialect: object, coltype: object) -> None:
        """No processing."""


_tables = sql.MetaData()
entries = sql.Table(
    "entries",
    _tables,
    sql.Column("sequence", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("kind", sql.String, nullable=False),
    sql.Column("at", sql.String, nullable=False),
    sql.Column("body", _Bytes, nullable=False),
    sql.Column("previous", sql.String, nullable=False),
    sql.Column("hash", sql.String, nullable=False, unique=True),
    sql.Column("signature", _Bytes, nullable=False),
    sql.Column("format", sql.Integer, nullable=False),
)
outbox = sql.Table(
    "outbox",
    _tables,
    sql.Column("reservation", sql.String, primary_key=True),
    sql.Column("expert", sql.String, primary_key=True),
    sql.Column("data", _Bytes, nullable=False),
)
_STORE = frozenset({"journal", "campaigns"})  # tables by which a consortium's store is known
_version = sql.table(LEDGER_VERSIONS, sql.column("version_num", sql.String))


def prepare(connection: sql.Connection, *, read_only: bool) -> None:
    """Bring the database to `HEAD` inside the connection's transaction; nothing where it is there already.

    Raises `LedgerError` for a ledger of a newer fedpath, one from before there were versions, and, where
    nothing may be written, one that would have to be changed.
    """
    there = set(sql.inspect(connection).get_table_names())
    found = _found(connection, there)
    if found == HEAD:
        return
    if read_only:
        if found is None and there >= _STORE:
            raise LedgerError(
                "it is a consortium's store, and no ledger: take the journal that `fedpath-consortium export` writes of it"
            )
        raise LedgerError(
            f"the ledger is of version {found or 'none'}, and this fedpath reads version {HEAD}: open it once "
            "where it may be written, or use the fedpath that wrote it"
        )
    upgrade(connection, "privacy.ledger:migrations", found, HEAD, "ledger")


def _found(connection: sql.Connection, there: set[str]) -> str | None:
    """The database's version; None where there is no ledger."""
    if LEDGER_VERSIONS in there:
        return connection.scalar(sql.select(_version.c.version_num))
    if there & set(_tables.tables):
        raise LedgerError(
            "the ledger was written before ledgers had versions, and can't be continued: keep it, and let a "
            "policy for the new one leave out what it spent"
        )
    return None

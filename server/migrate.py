"""How the consortium's database comes to have its tables in their newest form.

The versions themselves are Alembic's: `migrations/versions`. They are carried out when a store is opened, in one
transaction that other processes wait for, so two that open at once don't race, and a crash leaves the old form or the new.
"""

from __future__ import annotations

import sqlalchemy as sql

from privacy.errors import LedgerError
from privacy.ledger.upgrade import upgrade
from server.errors import StoreError
from server.tables import metadata

HEAD = "0004"  # the newest version, as this fedpath writes it
_TABLE = "store_version"
_version = sql.table(_TABLE, sql.column("version_num", sql.String))


def prepare(connection: sql.Connection) -> None:
    """Bring the database to `HEAD` inside the connection's transaction; nothing where it is there already.

    A store from before there were versions is recognised by its tables, and goes on. Raises `StoreError` for a store of a
    newer fedpath, and for a database that holds something else.
    """
    there = set(sql.inspect(connection).get_table_names())
    found = connection.scalar(sql.select(_version.c.version_num)) if _TABLE in there else None
    if found == HEAD:
        return
    if found is None and there and not {"journal", "campaigns"} <= there:
        odd = ", ".join(sorted(there - set(metadata.tables))[:3])
        raise StoreError(
            f"the database holds other things ({odd or 'half a store'}): name one that is the consortium's own"
        )
    try:
        upgrade(connection, "server:migrations", found, HEAD, "store", _TABLE)
    except LedgerError as error:
        raise StoreError(str(error)) from error

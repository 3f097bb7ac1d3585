"""Ledgers of other versions of fedpath and of its formats, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sql
from alembic.config import Config
from alembic.script import ScriptDirectory

from privacy.errors import LedgerError
from privacy.ledger import schema
from privacy.ledger.database import Database
from privacy.ledger.engine import open_engine
from privacy.ledger.entries import follow
from tests.privacy_cases import Hospital


def test_a_newer_ledger_is_refused_by_name(north: Hospital) -> None:
    """Catches an old fedpath that writes into a ledger whose form it does not know."""
    north.ledger()
    engine = open_engine(north.place, read_only=False)
    with engine.begin() as connection:
        connection.execute(sql.text("UPDATE alembic_version SET version_num = '9999'"))
    for read_only in (False, True):
        with pytest.raises(LedgerError, match="9999"):
            Database(north.place, read_only=read_only)


def test_a_ledger_from_before_versions_is_refused_by_name(north: Hospital) -> None:
    """Catches a migration that runs into tables which it did not make."""
    with open_engine(north.place, read_only=False).begin() as connection:
        connection.execute(sql.text("CREATE TABLE entries (sequence INTEGER)"))
    with pytest.raises(LedgerError, match="before ledgers had versions"):
        north.ledger()


def test_migrations_make_the_tables_that_are_used(north: Hospital) -> None:
    """Catches a migration that was forgotten when a table changed, and a HEAD that is not the newest version."""
    north.ledger()
    with open_engine(north.place, read_only=True).connect() as connection:
        looked = sql.inspect(connection)
        for table in (schema.entries, schema.outbox):
            found = {c["name"]: c["nullable"] for c in looked.get_columns(table.name)}
            assert found == {column.name: column.nullable for column in table.columns}
    config = Config()
    config.set_main_option("script_location", "privacy.ledger:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_an_unknown_format_is_refused_by_name(north: Hospital) -> None:
    """Catches an entry that is read under another format than it was written in."""
    ledger = north.ledger()
    entry = follow(None, "refusal", datetime.now(UTC), {"code": "busy", "plan": None}, north.key)
    with ledger._database.transaction() as transaction:
        transaction.append(replace(entry, format=2))
    with pytest.raises(LedgerError, match="entry 1 is of format 2"):
        north.ledger()

"""How a store is found, made and brought to its newest form, on both databases."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sql

from privacy import keys
from server.aside import Aside
from server.blobs import Blobs
from server.campaign import Progress
from server.database import Database
from server.engine import open_engine
from server.errors import HomeError, StoreError
from server.home import Home, store_place
from server.kept import Kept
from server.migrate import HEAD
from server.store import Store
from server.tables import metadata
from tests.contract.postgresql import Server
from tests.federation.simulator import initial
from tests.store_cases import DUMP, Place, commit, fresh

OPENER = """
import sys
from pathlib import Path
from server.home import Home
sys.stdin.readline()
Home.open(Path(sys.argv[1])).store()
"""


def test_a_store_from_before_versions_goes_on(tmp_path: Path) -> None:
    """Catches a consortium that can't open its months of rounds after an update, or loses their order."""
    with sqlite3.connect(tmp_path / "consortium.db") as database:
        database.executescript(DUMP.read_text())
    database.close()
    (tmp_path / "experts").mkdir()
    blobs = Blobs(tmp_path / "experts")
    for data in initial().values():
        blobs.put(data)
    parts = (blobs, Aside(tmp_path / "aside"), Kept(tmp_path / "releases"))
    key = keys.of_seed(b"0" * 32)  # the journal of the dump is signed by it
    store = Store(Database(tmp_path / "consortium.db"), *parts, key, lambda: datetime.now(UTC))
    assert store.progress("spring") == Progress(2, frozenset({"base", "sft"}))
    rows = store.read(sql.select(metadata.tables["evaluations"]).order_by("place"))
    assert [row["point"] for row in rows] == ["sft", "base"]
    assert store.owed()["north"].number == 1
    commit(store, 3)
    assert [entry.kind for entry in store.journal()][-2:] == ["round", "round"]


def test_what_migrations_make_is_what_the_tables_say(place: Place) -> None:
    """Catches a column that is in the code and in no migration, or the other way round."""
    place.home()
    engine = open_engine(store_place(place.folder / "home", place.url), lasting=True)
    found = sql.inspect(engine)
    assert set(found.get_table_names()) == {*metadata.tables, "store_version"}
    for name, table in metadata.tables.items():
        made = {column["name"]: column["nullable"] for column in found.get_columns(name)}
        assert made == {column.name: column.nullable for column in table.columns}, name
        assert found.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key], (
            name
        )
        unique = {tuple(constraint["column_names"]) for constraint in found.get_unique_constraints(name)}
        assert unique == {(column.name,) for column in table.columns if column.unique}, name
    engine.dispose()


def test_processes_that_open_a_new_store_at_once_all_get_it(places, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Catches migrations that race: a table made twice, or a version written twice."""
    made = places()
    place = fresh(made.folder, made.url)
    command = [sys.executable, "-c", OPENER, str(place.folder / "home")]
    opening = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    ends = [process.communicate("go\n", timeout=300)[1] for process in opening]
    assert [process.returncode for process in opening] == [0, 0, 0], ends
    assert place.home().store().campaigns() == []


def test_a_store_of_a_newer_fedpath_is_refused(place: Place) -> None:
    """Catches an old fedpath that writes into a form that it does not know."""
    home = place.home()
    engine = open_engine(store_place(home.folder, place.url), lasting=True)
    with engine.begin() as connection:
        connection.execute(sql.text("UPDATE store_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match=f"9999, and this fedpath knows versions up to {HEAD}"):
        home.store()


def test_a_database_that_holds_something_else_is_refused(server: Server, tmp_path: Path) -> None:
    """Catches tables made among another program's."""
    name = f"other-{os.getpid()}"
    url = server.create(name)
    with server.connect(name) as connection:
        connection.execute("CREATE TABLE accounts (id int)")
    with pytest.raises(StoreError, match="holds other things \\(accounts\\)"):
        Home.create(tmp_path / "home", "consortium", "127.0.0.1", 19092, url)
    assert not (tmp_path / "home").exists()
    server.drop(name)


def test_a_consortium_is_never_made_over_anothers_store(server: Server, tmp_path: Path) -> None:
    """Catches an `init` that takes over a database with another coordinator's journal in it."""
    name = f"taken-{os.getpid()}"
    home = Home.create(tmp_path / "one", "consortium", "127.0.0.1", 19092, server.create(name))
    from tests.store_cases import CAMPAIGN

    home.store().begin(CAMPAIGN, initial(), "1")
    with pytest.raises(HomeError, match="holds a consortium's store already"):
        Home.create(tmp_path / "two", "consortium", "127.0.0.1", 19092, server.url(name))
    assert not (tmp_path / "two").exists()
    assert Home.open(tmp_path / "one").store().campaigns() == ["spring"]
    server.drop(name)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("postgresql://me:secret@host/db", "holds a password"),
        ("postgresql://me@host/db?password=secret", "holds a password"),
        ("mysql://me@host/db", "can't be kept in 'mysql'"),
        ("nonsense", "can't be read"),
        (7, "as a text"),
    ],
)
def test_an_address_that_can_not_serve_is_refused(tmp_path: Path, url: str, what: str) -> None:
    """Catches a password in a file that is not secret, and in the message that tells of it."""
    with pytest.raises(HomeError, match=what) as caught:
        Home.create(tmp_path / "home", "consortium", "127.0.0.1", 19092, url)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_the_password_file_is_the_owners_alone(tmp_path: Path) -> None:
    """Catches a password file that others read, which PostgreSQL's client would pass over in silence."""
    (tmp_path / "keys").mkdir()
    password = tmp_path / "keys" / "database.pgpass"
    assert store_place(tmp_path, "postgresql://me@host/db") == "postgresql://me@host/db"
    password.write_text("*:*:*:*:word")
    password.chmod(0o644)
    with pytest.raises(HomeError, match="chmod 600"):
        store_place(tmp_path, "postgresql://me@host/db")
    password.chmod(0o600)
    assert store_place(tmp_path, "postgresql://me@host/db") == f"postgresql://me@host/db?passfile={password}"

"""What a PostgreSQL database must be before a store or a ledger is kept in it, and how its password is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql
from typer.testing import CliRunner, Result

from privacy.command_line import Exit
from privacy.errors import LedgerError
from server.cli import app
from server.errors import StoreError
from server.home import Home
from tests.contract.postgresql import ASKED, Server
from tests.documented import claim
from tests.privacy_cases import hospital

Open = Callable[[Path, str], object]
COMMANDS = claim(
    "docs/howto/deploy.md",
    "fedpath-consortium",
    without=("podman exec ", "podman run --rm --network none --volume $C:$C localhost/"),
)
PASSWORD = "a:b\\c d"


def _store(folder: Path, url: str) -> object:
    return Home.create(folder / "home", "consortium", "127.0.0.1", 19092, url.replace("+psycopg", ""))


KEPT: dict[str, tuple[Open, type[Exception]]] = {
    "store": (_store, StoreError),
    "ledger": (lambda folder, url: hospital(folder, url).ledger(), LedgerError),
}


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_keeps_text_otherwise_is_refused(
    server: Server, tmp_path: Path, kept: str, encoding: str
) -> None:
    """Catches names that come back as bytes, or can't be written: a server set up without a locale has SQL_ASCII."""
    name = f"{kept}-{encoding}-{os.getpid()}"
    url = server.create(name, encoding)
    opened, refused = KEPT[kept]
    with pytest.raises(refused, match=f"keeps text in {encoding}: make one with ENCODING 'UTF8'"):
        opened(tmp_path, url)
    server.drop(name)


@pytest.mark.parametrize("kept", KEPT)
def test_a_server_that_keeps_nothing_safe_is_refused(server: Server, tmp_path: Path, kept: str) -> None:
    """Catches a ledger, or a store, that a power cut would take back."""
    name = f"{kept}-fsync-{os.getpid()}"
    url = server.create(name)
    opened, refused = KEPT[kept]
    server.configure("fsync", "off")
    try:
        with pytest.raises(refused, match="fsync off"):
            opened(tmp_path, url)
    finally:
        server.configure("fsync", "on")
    server.drop(name)


@pytest.fixture
def asking(server: Server) -> Iterator[str]:
    """The URL of a database whose user is asked for PASSWORD."""
    name = ASKED
    server.create(name)
    with server.connect() as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(ASKED), PASSWORD)
        )
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), sql.Identifier(ASKED))
        )
    yield server.url(name, ASKED).replace("+psycopg", "")
    server.drop(name)
    with server.connect() as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(ASKED)))


def test_the_home_keeps_the_password_that_init_is_told(tmp_path: Path, asking: str) -> None:
    """Catches a home that `init` can make and no later command can open, and a password that PostgreSQL's file format eats."""
    file, home = tmp_path / "password", tmp_path / "home"
    file.write_text(f"{PASSWORD}\n")
    done = init(home, asking, file)
    assert done.exit_code == 0, done.output
    assert (home / "keys" / "database.pgpass").stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in (home / "consortium.toml").read_text()
    assert Home.open(home).store().campaigns() == []


@pytest.mark.parametrize(
    ("told", "what"),
    [
        (b"another\n", "password authentication failed"),
        (b"", "first line must be the password"),
        (b"\nsecond\n", "first line must be the password"),
        (b"\xff\n", "the password can't be read"),
        (None, "No such file"),
    ],
)
def test_a_password_that_is_none_makes_no_home(
    tmp_path: Path, asking: str, told: bytes | None, what: str
) -> None:
    """Catches a home half made, whose folder is not empty when `init` is run again with the right one."""
    file, home = tmp_path / "password", tmp_path / "home"
    if told is not None:
        file.write_bytes(told)
    done = init(home, asking, file)
    assert done.exit_code == Exit.NOT_DONE
    assert what in done.stderr
    assert not home.exists()


def test_a_home_is_made_in_a_database_as_the_page_says(tmp_path: Path, server: Server, asking: str) -> None:
    """Catches a command of docs/howto/deploy.md whose options, or whose address of a socket, do not serve."""
    (tmp_path / "password").write_text(PASSWORD)
    home = tmp_path / "home"
    given = {"$C": str(home), "NAME": "127.0.0.1", "/password": str(tmp_path / "password")}
    (shown,) = COMMANDS
    words = [given.get(word, word).replace("$D/socket", str(server.folder)) for word in shown.arguments]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert Home.open(home).database == f"postgresql://{ASKED}@/{ASKED}?host={server.folder}"


def init(home: Path, url: str, password: Path) -> Result:
    """The command."""
    options = ("--host", "127.0.0.1", "--database", url, "--database-password-file", str(password))
    return CliRunner().invoke(app, ["init", str(home), *options])

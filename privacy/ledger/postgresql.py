"""What a hospital's ledger and the consortium's store ask of a PostgreSQL database that holds one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+psycopg"
WAIT_SECONDS = 60  # for other writers
STATEMENT_SECONDS = 75
CONNECT_SECONDS = 10


def arguments(program: str) -> dict[str, Any]:
    """How to connect, under this name. Text is UTF-8 whatever the database's encoding, or the client would speak bytes."""
    return {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": f"fedpath {program}",
        "client_encoding": "utf8",
    }


def read_url(text: str, what: str, password: str) -> sql.URL:
    """The URL of the PostgreSQL database that is to keep `what`; `password` says where its password belongs.

    Raises `ValueError`, saying what to do, for another kind of database, and for a password in the URL, where errors and
    files would show it.
    """
    try:
        url = sql.make_url(text)
    except ArgumentError:
        raise ValueError(f"the {what}'s URL can't be read: write postgresql://user@host/db") from None
    if url.drivername not in ("postgresql", DRIVER):
        raise ValueError(
            f"a {what} can't be kept in {url.drivername!r}: write postgresql://user@host/db, or leave the key "
            "out for a file in the home"
        )
    if url.password is not None or {"password", "sslpassword"} & set(url.query):
        raise ValueError(f"the {what}'s URL holds a password: take it out, and put it into {password}")
    return url.set(drivername=DRIVER)


def pgpass_line(password: str) -> bytes:
    """A password file's content: this password, wherever and whoever the URL says."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n".encode()


def with_password_file(url: str, password: Path) -> str:
    """The URL with the password file, where there is one.

    Raises `PermissionError` where others may read that file: PostgreSQL's client would pass over it in silence.
    """
    if not password.exists():
        return url
    if password.stat().st_mode & 0o077:
        raise PermissionError(f"{password}: others can read it: run `chmod 600 {password}`")
    return f"{url}{'&' if '?' in url else '?'}passfile={quote(str(password), safe='/')}"


def begin(connection: sql.Connection, lock: int, *, lasting: bool) -> str | None:
    """Begin a transaction that waits for all others that name the same `lock`, so that it reads all that they wrote, and that
    survives a power cut where it is `lasting`, whatever the server's default. What makes this database unfit, where
    something does.

    No statement of it takes the server longer than `STATEMENT_SECONDS`, and a client that vanished holds the lock for about
    as long.
    """
    connection.exec_driver_sql(
        f"SET LOCAL synchronous_commit TO {'on' if lasting else 'off'}; "
        f"SET LOCAL lock_timeout TO '{WAIT_SECONDS}s'; SET LOCAL statement_timeout TO '{STATEMENT_SECONDS}s'; "
        "SET LOCAL tcp_keepalives_idle TO 30; SET LOCAL tcp_keepalives_interval TO 10; "
        "SET LOCAL tcp_keepalives_count TO 3; SET LOCAL tcp_user_timeout TO '60s'"
    )
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock})")
    settings = connection.exec_driver_sql(
        "SELECT current_setting('fsync'), current_setting('server_encoding')"
    )
    fsync, encoding = settings.one()
    if fsync != "on":
        return "this PostgreSQL server runs with fsync off, and would lose what was committed: turn it on"
    if encoding != "UTF8":
        return f"this PostgreSQL database keeps text in {encoding}: make one with ENCODING 'UTF8' TEMPLATE template0"
    return None

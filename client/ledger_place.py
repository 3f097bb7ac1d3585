"""Where a home's ledger is kept: a SQLite file in the home, or the PostgreSQL database that hospital.toml names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from client.errors import HomeError


def ledger_place(folder: Path, url: str | None) -> Path | str:
    """The file, or the URL with the home's password file (`keys/ledger.pgpass`) where there is one.

    Raises `HomeError` where others may read that file: PostgreSQL's client would pass over it in silence.
    """
    if url is None:
        return folder / "ledger.db"
    password = folder / "keys" / "ledger.pgpass"
    if not password.exists():
        return url
    if password.stat().st_mode & 0o077:
        raise HomeError(f"{password}: others can read it: run `chmod 600 {password}`")
    return f"{url}{'&' if '?' in url else '?'}passfile={quote(str(password), safe='/')}"

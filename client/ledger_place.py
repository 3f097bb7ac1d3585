"""Where a home's ledger is kept: a SQLite file in the home, or the PostgreSQL database that hospital.toml names."""

from __future__ import annotations

from pathlib import Path

from client.errors import HomeError
from privacy.ledger.postgresql import with_password_file


def ledger_place(folder: Path, url: str | None) -> Path | str:
    """The file, or the URL with the home's password file (`keys/ledger.pgpass`) where there is one.

    Raises `HomeError` where others may read that file.
    """
    if url is None:
        return folder / "ledger.db"
    try:
        return with_password_file(url, folder / "keys" / "ledger.pgpass")
    except PermissionError as error:
        raise HomeError(str(error)) from None

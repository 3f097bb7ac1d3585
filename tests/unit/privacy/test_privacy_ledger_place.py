"""Where a ledger may be kept: what is refused before anything is connected to."""

from __future__ import annotations

from pathlib import Path

import pytest

from privacy.errors import LedgerError
from privacy.ledger.database import Database

CASES = [
    ("postgresql+psycopg://north:secret@db/ledger", "holds a password"),
    ("postgresql+psycopg://north@db/ledger?password=secret", "holds a password"),
    ("postgresql+psycopg2://north@db/ledger", "can't be kept in 'postgresql.psycopg2'"),
    ("mysql://north@db/ledger", "can't be kept in 'mysql'"),
    ("sqlite:///ledger.db", "can't be kept in 'sqlite'"),
    ("ledger.db", "URL can't be read"),
    ("", "URL can't be read"),
]


@pytest.mark.parametrize(("place", "message"), CASES)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_place_that_no_ledger_may_have_is_named(place: str, message: str, read_only: bool) -> None:
    """Catches a password in a settings file, or in an error; and a database that no test has ever seen."""
    with pytest.raises(LedgerError, match=message) as caught:
        Database(place, read_only=read_only)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_server_that_is_not_there_is_named_with_the_cure(tmp_path: Path, scheme: str) -> None:
    """Catches a database error that reaches the user as it is, and a URL that means a driver that is not installed."""
    with pytest.raises(LedgerError, match="check that the server runs"):
        Database(f"{scheme}://north@/ledger?host={tmp_path}")

"""The command that docs/store.md shows for a store in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli import app
from server.home import Home
from tests.contract.postgresql import Server
from tests.documented import claim

COMMANDS = claim(
    "docs/store.md",
    without=("fedpath-consortium pause", "fedpath-consortium resume", "fedpath-consortium stop", "sqlite3"),
)


def test_a_store_in_postgresql_is_made_as_the_page_says(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a page whose option or URL is not taken, and a home that keeps another store than it was given."""
    monkeypatch.chdir(tmp_path)
    url = server.create("store-page").replace("+psycopg", "")
    try:
        for command in COMMANDS:
            words = {"HOST": "127.0.0.1", "postgresql://fedpath@db.example.org/fedpath": url}
            done = CliRunner().invoke(app, [words.get(word, word) for word in command.arguments])
            assert done.exit_code == 0, f"{command}: {done.output}"
        assert f'database = "{url}"' in (tmp_path / "HOME" / "consortium.toml").read_text()
        assert Home.open(tmp_path / "HOME").store().journal() == []
    finally:
        server.drop("store-page")

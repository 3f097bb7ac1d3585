"""Commands that docs/store.md shows for a campaign and a store in SQLite; the one for PostgreSQL is run in tests/contract."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli import app
from server.home import Home
from tests.documented import claim
from tests.federation.simulator import initial
from tests.store_cases import CAMPAIGN

STEERED = claim("docs/store.md", "fedpath-consortium", without=("fedpath-consortium init",))
BACKED_UP = claim("docs/store.md", "sqlite3")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A consortium whose campaign has begun, called HOME in the present folder."""
    monkeypatch.chdir(tmp_path)
    made = Home.create(tmp_path / "HOME", "consortium", "127.0.0.1", 1)
    made.store().begin(CAMPAIGN, initial(), "1")
    return made


def test_a_campaign_is_steered_as_the_page_says(home: Home) -> None:
    """Catches a page that names a command which is not there, or another order than can be."""
    for command in STEERED:
        arguments = [{"CAMPAIGN": CAMPAIGN.name}.get(word, word) for word in command.arguments]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, f"{command}: {done.output}"
    assert [entry.kind for entry in home.store().journal()] == ["campaign", "pause", "resume", "stop"]


def test_the_backup_holds_the_journal(home: Home) -> None:
    """Catches a backup of another file, or of one without what the write-ahead log has."""
    if shutil.which("sqlite3") is None:
        pytest.skip("no sqlite3 program here")
    for command in BACKED_UP:
        subprocess.run(command.words, check=True, timeout=60)
    with sqlite3.connect("consortium-backup.db") as copy:
        assert copy.execute("select count(*) from journal").fetchone() == (1,)

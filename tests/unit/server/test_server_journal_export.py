"""The coordinator's journal as an export: all of it, in the ledgers' own format, verifiable with the public key."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from privacy import accounting
from privacy.audit.sources import Side, read_source
from privacy.audit.verify import Trusted, audit
from privacy.errors import LedgerError
from privacy.ledger.export import read_export, verify_export
from server.cli import app
from tests.audit_books import SPRING, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A consortium after one round."""
    world = World.create(tmp_path_factory.mktemp("world"))
    world.round(SPRING, 1)
    return world


def test_the_command_writes_all_entries_under_a_signed_head(world: World, tmp_path: Path) -> None:
    """Catches an export that lacks an entry, that needs the private key to be read, or that overwrites a file."""
    file = tmp_path / "journal.jsonl"
    result = CliRunner().invoke(app, ["export", str(world.home.folder), str(file)])
    assert result.exit_code == 0, result.output
    source = read_source(file)
    assert source.side is Side.COORDINATOR
    assert list(source.entries) == world.store.journal()
    public = world.home.coordinator().public
    assert audit([source], Trusted(coordinators=(public,)), accounting.epsilon).findings == ()
    again = CliRunner().invoke(app, ["export", str(world.home.folder), str(file)])
    assert (again.exit_code, "name a new file" in again.stderr) == (2, True)


def test_a_rounds_entry_holds_what_an_auditor_compares(world: World) -> None:
    """Catches an entry without the plan, the event, the time of opening, or the reservation that each release names."""
    (entry,) = [entry for entry in world.store.journal() if entry.kind == "round"]
    north = world.hospitals["north"][0]
    (held,) = [e for e in north.entries() if e.kind == "reservation"]
    assert entry.body["plan"] == held.body["plan"]
    assert entry.body["event"] == held.body["event"]
    assert entry.body["opened"] < held.at < entry.at
    mine = [verdict for verdict in entry.body["verdicts"] if verdict["hospital"] == "north"]
    assert {verdict["reservation"] for verdict in mine} == {held.hash}


def test_a_journal_is_not_taken_for_a_ledger(world: World) -> None:
    """Catches a reader of ledgers that passes a book of another kind."""
    path = world.exports()["journal"]
    with pytest.raises(LedgerError, match="unknown kind"):
        verify_export(read_export(path), world.home.coordinator().public)

"""`fedpath-consortium pause`, `resume` and `stop`, and the URL of a database at `init`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from server.cli import app
from server.home import Home
from tests.federation.simulator import initial
from tests.store_cases import CAMPAIGN


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Home.create(tmp_path / "home", "consortium", "127.0.0.1", 1).store().begin(CAMPAIGN, initial(), "1")
    return tmp_path / "home"


def test_a_campaign_is_paused_resumed_and_stopped(home: Path) -> None:
    """Catches a command that says that it is done, and is not."""
    store = Home.open(home).store()
    for command, done in (("pause", "paused"), ("resume", "resumed"), ("stop", "stopped")):
        said = run(command, home, "spring", "--json")
        assert said.exit_code == 0, said.output
        assert json.loads(said.stdout) == {"campaign": "spring", "done": done}
    assert [entry.kind for entry in store.journal()] == ["campaign", "pause", "resume", "stop"]
    (campaign,) = json.loads(run("status", home, "--json").stdout)["campaigns"]
    assert (campaign["state"], campaign["held_at"]) == ("stopped", None)


@pytest.mark.parametrize(
    ("command", "name", "why"),
    [
        ("pause", "autumn", "was never begun"),
        ("resume", "spring", "is not paused"),
        ("stop", "autumn", "never begun"),
    ],
)
def test_what_can_not_be_done_is_said_plainly(home: Path, command: str, name: str, why: str) -> None:
    """Catches a traceback, and a step of nothing that is told as done."""
    done = run(command, home, name)
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert why in " ".join(done.output.split())


def test_a_database_that_is_not_there_leaves_no_half_home(tmp_path: Path) -> None:
    """Catches a home that can't be made again after a slip in the URL, and a password that is told."""
    for url, why in (
        (f"postgresql://me@/fedpath?host={tmp_path}", "check that the server runs"),
        ("postgresql://me:secret@/fedpath", "holds a password"),
    ):
        done = run("init", tmp_path / "home", "--host", "127.0.0.1", "--database", url)
        assert done.exit_code == 2
        assert why in " ".join(done.output.split())
        assert "secret" not in done.output
    assert not (tmp_path / "home").exists()

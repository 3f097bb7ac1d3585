"""docs/howto/hospital-day-to-day.md, done as it says: every command of the page, in its order."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.rpc import serve
from tests.documented import ROOT, claim
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]
PAGE = (ROOT / "docs" / "howto" / "hospital-day-to-day.md").read_text("utf-8")
COMMANDS = claim("docs/howto/hospital-day-to-day.md")


def test_every_command_of_the_page_does_what_it_says(
    house: MakeHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a page that tells of a command, option or order that is not so, and an upgrade that nobody can record."""
    place = house()
    monkeypatch.chdir(tmp_path)
    Path("north").symlink_to(place.home.folder)
    policy = place.home.policy_file.read_text().replace("maximum_steps = 4", "maximum_steps = 40")
    place.home.policy_file.write_text(policy)
    Path("new.toml").write_text(policy.replace("= 50.0", "= 6.5").replace("= 40", "= 20"))
    server = serve(place.home.status_socket, place.agent().local_methods)
    try:
        for command in COMMANDS:
            done = CliRunner().invoke(app, command.arguments)
            assert done.exit_code == 0, f"{command}: {done.output}"
            if " status " in command.text:
                assert re.search(r"^opens: 2\d\d\d-", done.output, re.MULTILINE)
    finally:
        server.stop(None).wait()
    now = place.home.policy
    assert (now.epsilon_budget, now.approval, now.gpu_memory_share) == (6.5, "manual", 0.5)
    kinds = [entry.kind for entry in place.ledger().entries()]
    assert kinds[:2] == ["policy", "upgrade"]
    assert kinds.count("policy") == 1 + sum(" policy set " in command.text for command in COMMANDS)
    assert kinds.count("approval") == 2


def test_the_page_shows_every_command_of_a_hospitals_month() -> None:
    """Catches a pattern that finds no line to check, and a command that nobody hears of."""
    assert {command.words[1] for command in COMMANDS} == {
        *("policy", "status", "campaigns", "approve", "pause", "resume", "upgrade"),
    }
    assert all(f"`fedpath-hospital {name} north`" in PAGE for name in ("start", "stop"))

"""docs/howto/enrol.md, done as it says: every command of the page, in its order."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from client.cli import app as hospital
from client.home import Home as Hospital
from privacy.policy import Policy
from server.cli import app as consortium
from server.home import Home as Consortium
from tests.documented import Command, claim

COMMANDS = claim("docs/howto/enrol.md")
APPS = {"fedpath-consortium": consortium, "fedpath-hospital": hospital}


def test_every_command_of_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a page that tells of a command, option, file or order that is not so."""
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        _do(command)
    home = Consortium.open(tmp_path / "consortium")
    kinds = [entry.kind for entry in home.store().journal()]
    assert kinds == ["enrolment", "enrolment", "handover", "revocation", "enrolment", "rotation"]
    north = Hospital(tmp_path / "north")
    assert north.kit.release_key == home.store().hospitals()["north"].release_key
    assert len(north.kit.roots) == 1
    assert north.coordinator == home.coordinator().public
    assert {name for name, one in home.store().hospitals().items() if one.evaluator} == {"judge"}
    assert Policy.load(tmp_path / "judge" / "policy.toml").public_data


def _do(command: Command) -> None:
    program, *arguments = command.words
    if program == "install":
        subprocess.run([program, *arguments], check=True)
    elif arguments[0] == "check":  # there are no slides and no base here
        done = _run(program, [*arguments, "--json"])
        problems = {problem["code"] for problem in json.loads(done.stdout)["problems"]}
        assert not problems & {"kit", "expiry", "node-key", "release-key", "policy"}, problems
    else:
        done = _run(program, arguments)
        assert done.exit_code == 0, f"{command}: {done.output}"


def _run(program: str, arguments: list[str]) -> Result:
    return CliRunner().invoke(APPS[program], arguments)


def test_the_page_shows_every_command_of_an_enrolment() -> None:
    """Catches a pattern that finds no line to check, and a command that nobody hears of."""
    shown = {tuple(command.words[:2]) for command in COMMANDS if command.program != "install"}
    assert shown == {
        *(
            ("fedpath-consortium", name)
            for name in ("init", "enroll", "approve", "status", "renew", "revoke", "rotate")
        ),
        *(
            ("fedpath-hospital", name)
            for name in ("init", "request", "join", "check", "policy", "rotate-key")
        ),
    }

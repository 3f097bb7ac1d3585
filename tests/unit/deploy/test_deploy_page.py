"""What docs/howto/deploy.md has a container, or a unit's user, run: done in this process, with the page's arguments.

The page tells one side's commands after the other's; here they come in the order that enrolment has. The engine, root and
systemd around them are not tried: the page says on what it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app as hospital
from server.cli import app as consortium
from tests.documented import Command, claim

COMMANDS = claim(
    "docs/howto/deploy.md",
    "fedpath-hospital",
    "fedpath-consortium",
    without=("podman exec fedpath-hospital_",),
)
APPS = {"fedpath-hospital": hospital, "fedpath-consortium": consortium}
HOMES = {"container": "srv/fedpath/home", "unit": "var/lib/fedpath"}


def shown(program: str, name: str, way: str) -> Command:
    """The page's command of this name, for a hospital in a container or a unit."""
    unit = way == "unit" and program == "fedpath-hospital"
    (found,) = (
        command
        for command in COMMANDS
        if (command.program, command.arguments[0]) == (program, name)
        and command.text.startswith("/opt/") == unit
        and "--database" not in command.arguments  # test_database_fit.py, in contract, has a server
    )
    return found


@pytest.mark.parametrize("way", HOMES)
def test_a_hospital_is_enrolled_as_the_page_says(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an option that is gone, an argument that is missing, and a path that the other side does not write to."""
    monkeypatch.chdir(tmp_path)
    home, shared = tmp_path / HOMES[way], tmp_path / "srv" / "fedpath"
    home.parent.mkdir(parents=True)
    (shared / "campaigns").mkdir(parents=True)
    places = {"$H": str(home), "$C": str(shared / "consortium"), "NAME": "127.0.0.1"}

    def do(program: str, name: str, *more: str, status: int = 0, typed: str = "") -> str:
        command = shown(program, name, way)
        done = CliRunner().invoke(APPS[program], [*under(command, places, tmp_path), *more], input=typed)
        assert done.exit_code == status, f"{command}: {done.output}"
        return done.stdout

    do("fedpath-consortium", "init")
    do("fedpath-consortium", "users", typed="a long password\n" * 2)
    do("fedpath-consortium", "enroll")
    shutil.copy(shared / "consortium" / "invitations" / "north.json", "invitation.json")
    do("fedpath-hospital", "init")
    shutil.copy(home / "request.json", shared / "campaigns" / "request.json")
    do("fedpath-consortium", "approve")
    shutil.copy(shared / "consortium" / "kits" / "north.json", "kit.json")
    do("fedpath-hospital", "join")
    assert (home / "trust" / "kit.json").is_file()
    if way == "container":  # there are no slides and no base here
        found = json.loads(do("fedpath-hospital", "check", "--json", status=1))
        problems = {problem["code"] for problem in found["problems"]}
        assert not problems & {"kit", "expiry", "node-key", "release-key", "policy"}, problems


def test_every_command_is_looked_at() -> None:
    """Catches a command of the page that no test here takes up."""
    names = {(command.program, command.arguments[0]) for command in COMMANDS}
    assert names == {
        *(("fedpath-consortium", name) for name in ("init", "users", "enroll", "approve")),
        *(("fedpath-hospital", name) for name in ("init", "join", "check")),
    }


def under(command: Command, places: Mapping[str, str], root: Path) -> list[str]:
    """A command's arguments, its paths from the root led into the folder `root`."""
    words = [places.get(word, word) for word in command.arguments]
    return [
        f"{root}{word}" if word.startswith("/") and not word.startswith(str(root)) else word for word in words
    ]

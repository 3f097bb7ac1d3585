"""`fedpath-consortium`'s commands about who takes part, and what `status` says of them."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from privacy.enrolment.invitation import Invitation
from server.cli import app
from server.home import Home
from server.provision.authority import AUTHORITY_DAYS, make_authority
from server.provision.kits import kit_expiry
from server.status import status
from tests.provision_cases import Hospital
from tests.store_cases import forget_versions


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def told(*arguments: object) -> dict[str, Any]:
    """What a command says as JSON."""
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    values: dict[str, Any] = json.loads(done.stdout)
    return values


@pytest.fixture
def home(tmp_path: Path) -> Path:
    told("init", tmp_path / "home", "--host", "127.0.0.1", "--name", "rhine")
    return tmp_path / "home"


@pytest.fixture
def north(home: Path, tmp_path: Path) -> Hospital:
    """North, whose request lies in its folder."""
    invitation = told("enroll", home, "north")["invitation"]
    made = Hospital(tmp_path / "north", Invitation.load(Path(invitation)))
    (made.folder / "request.json").write_bytes(made.file())
    return made


def test_the_commands_enrol_and_revoke(home: Path, north: Hospital) -> None:
    """Catches a step that a script can't follow, and a status that does not show who is what."""
    assert [i["name"] for i in told("status", home)["invited"]] == ["north"]
    done = told("approve", home, north.folder / "request.json")
    assert (done["hospital"], done["done"]) == ("north", "enrolled")
    assert done["fingerprint"] == north.keys[0].public.fingerprint
    shown = told("status", home)
    assert shown["invited"] == []
    (hospital,) = shown["hospitals"]
    assert (hospital["name"], hospital["kit"]["level"]) == ("north", "fine")
    told("revoke", home, "north", "--reason", "left")
    shown = told("status", home)
    assert (shown["hospitals"], shown["revoked"][0]["reason"]) == ([], "left")
    assert "left" in run("status", home).output


def test_enroll_says_what_to_compare_and_not_the_secret(home: Path) -> None:
    """Catches a secret on a terminal, where it stays in a scroll-back or a log."""
    done = run("enroll", home, "north")
    made = Invitation.load(home / "invitations" / "north.json")
    assert made.coordinator.fingerprint in done.output
    assert "by telephone" in " ".join(done.output.split())
    assert made.seed.hex() not in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("approve", "HOME", "nothing.json"),
        ("revoke", "HOME", "south"),
        ("renew", "HOME", "--switch"),
        ("renew", "HOME", "--ca", "--switch"),
        ("enroll", "HOME", "South"),
    ],
    ids=" ".join,
)
def test_what_can_not_be_done_is_one_plain_sentence(home: Path, arguments: tuple[str, ...]) -> None:
    """Catches a traceback where a sentence will do."""
    done = run(*(str(home) if word == "HOME" else word for word in arguments))
    assert done.exit_code == 2
    assert done.output.startswith("error: ")


def test_renewals_are_told_with_their_ends(home: Path) -> None:
    """Catches a renewal after which nobody knows how long it lasts."""
    first = told("renew", home)
    assert [(end["what"].split()[0], end["level"]) for end in first["expiries"]] == [
        ("server", "fine"),
        ("root", "fine"),
    ]
    assert len(told("renew", home, "--ca")["expiries"]) == 3
    assert len(told("renew", home, "--switch")["expiries"]) == 2


@pytest.mark.parametrize(("left", "level"), [(29, "warning"), (2, "problem"), (-1, "problem")])
def test_what_ends_soon_is_said_by_status(home: Path, left: int, level: str) -> None:
    """Catches a certificate that ends unseen."""
    made = datetime.now(UTC) - timedelta(days=AUTHORITY_DAYS - left, hours=-1)
    make_authority(home, "127.0.0.1", made)
    roots = [end for end in told("status", home)["expiries"] if end["what"].startswith("root")]
    assert [(end["days_left"], end["level"]) for end in roots] == [(left, level)]
    assert level.upper() in run("status", home).output


def test_a_store_from_before_invitations_opens(home: Path, north: Hospital) -> None:
    """Catches a consortium that can't open its own store after an update."""
    told("approve", home, north.folder / "request.json")
    with sqlite3.connect(home / "consortium.db") as database:
        forget_versions(database)
        database.execute("DROP TABLE invitations")
        database.execute("DROP TABLE revocations")
    (home / "kits" / "north.json").unlink()
    place = Home.open(home)
    assert list(place.store().hospitals()) == ["north"]
    (hospital,) = status(place)["hospitals"]
    assert hospital["kit"] is None
    assert "renew" in run("status", home).output
    told("renew", home)
    assert kit_expiry(place, "north", datetime.now(UTC)) is not None

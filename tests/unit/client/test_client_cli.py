"""`fedpath-hospital`, as hospital IT meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from privacy import canonical, durable, keys
from privacy.egress_record import EgressRecord
from privacy.enrolment.request import Request
from tests.enrolment_cases import invitation
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_init_makes_a_home_and_says_what_comes_next(tmp_path: Path) -> None:
    """Catches a home that can't be joined, an init that forgets the request, and a fingerprint that nobody is told."""
    coordinator = keys.generate(tmp_path / "coordinator.key").public
    file = tmp_path / "invitation.json"
    durable.replace(file, invitation("north", coordinator).to_bytes())
    arguments = (
        "init",
        tmp_path / "h",
        "--invitation",
        file,
        "--slides",
        "s",
        "--manifest",
        "m.csv",
        "--base",
        "b",
    )
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "request.json" in done.output
    assert coordinator.fingerprint in done.output
    assert Request.load(tmp_path / "h" / "request.json").hospital == "north"
    assert "PRIVATE" not in (tmp_path / "h" / "request.json").read_text()
    again = run(*arguments)
    assert again.exit_code == 2
    assert "error: " in again.output


def test_check_tells_ready_from_not(house: MakeHouse) -> None:
    """Catches an exit status that scripts can't trust."""
    home = house().home
    good = run("check", home.folder, "--json")
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["problems"] == []
    (home.folder / "policy.toml").unlink()
    bad = run("check", home.folder)
    assert bad.exit_code == 1
    assert "policy.toml" in bad.output


def test_budget_and_egress_read_the_ledger(house: MakeHouse) -> None:
    """Catches figures that are not the ledger's."""
    place = house()
    assert json.loads(run("budget", place.home.folder, "--json").stdout)["epsilon"] == 0.0
    ledger = place.ledger()
    reservation = ledger.reserve(place.plan(), place.home.policy, "0" * 64)
    ledger.spend(reservation, {"scale/roi": b"bytes"})
    ledger.log_egress([EgressRecord("release/scale/roi", canonical.digest(b"bytes"), 5, 1.5, "0" * 64)])
    figures = json.loads(run("budget", place.home.folder, "--json").stdout)
    assert figures["epsilon"] == pytest.approx(ledger.epsilon(1e-5))
    assert figures["rounds_left_like_the_last"] == ledger.rounds_left(place.plan(), place.home.policy)
    (left,) = json.loads(run("egress", place.home.folder, "--json").stdout)["egress"]
    assert (left["name"], left["bytes"], left["epsilon"]) == ("release/scale/roi", 5, 1.5)


def test_status_without_an_agent_is_a_plain_error(house: MakeHouse) -> None:
    """Catches a traceback where a sentence will do."""
    done = run("status", house().home.folder)
    assert done.exit_code == 2
    assert done.output.startswith("error: ")

"""`fedpath-hospital`, as hospital IT meets it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.events import Phase
from client.rpc import serve
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


def test_an_egress_log_without_entries_says_so(house: MakeHouse) -> None:
    """Catches silence, which may as well be a command that failed."""
    home = house().home
    assert run("egress", home.folder).stdout == "nothing has left this hospital\n"
    assert json.loads(run("egress", home.folder, "--json").stdout) == {"egress": []}


def test_a_budget_that_nothing_was_paid_of_is_told_in_words(house: MakeHouse) -> None:
    """Catches "None" where a person reads."""
    home = house().home
    assert "rounds left like the last: no round was paid for yet\n" in run("budget", home.folder).stdout
    assert json.loads(run("budget", home.folder, "--json").stdout)["rounds_left_like_the_last"] is None


def test_without_an_agent_status_says_so_and_what_it_knows(house: MakeHouse) -> None:
    """Catches a socket's name where a sentence will do, and an expiry that nobody is told while the agent is down."""
    home = house().home
    run("pause", home.folder)
    done = run("status", home.folder)
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{home.folder}: no agent runs on this home: start it (")
    assert re.search(r"^paused since 2\d\d\d-", done.stdout, re.MULTILINE)
    assert re.search(r"^the kit expires in \d+ days", done.stdout, re.MULTILINE)
    assert "None" not in done.stdout
    told = run("status", home.folder, "--json")
    assert told.exit_code == 1
    assert {end["what"] for end in json.loads(told.stdout)["expiries"]} >= {"kit"}
    figures = run("metrics", home.folder)
    assert (figures.exit_code, figures.stdout) == (2, "")
    assert figures.stderr.startswith(f"error: {home.folder}: no agent runs on this home: start it (")


def test_status_reads_as_a_person_does(house: MakeHouse) -> None:
    """Catches a dump of the agent's fields, in the order of their names, with what is nothing."""
    place = house()
    agent = place.agent()
    server = serve(place.home.status_socket, agent.local_methods)
    try:
        done = run("status", place.home.folder)
        assert done.exit_code == 0, done.output
        agent.progress.begin(Phase.TRAINING, campaign="spring", round=3)
        agent.progress.step(4, 10)
        agent.progress.skip("a.svs", "damaged")
        busy = run("status", place.home.folder).stdout
        told = json.loads(run("status", place.home.folder, "--json").stdout)
    finally:
        server.stop(None).wait()
    assert re.match(
        r"north: idle, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\nupgrade: none pending\n", done.stdout
    )
    assert "epsilon: 0.000 of 50 is spent, at delta 1e-05\n" in done.stdout
    assert not re.search("None|opens|paused|^of|{", done.stdout, re.MULTILINE)
    assert busy.startswith("north: training, round 3 of spring, step 4 of 10, since ")
    assert "left out: slide a.svs (damaged)\n" in busy
    assert (told["opens"], told["of"], told["skipped"]["a.svs"]) == (None, 10, "damaged")

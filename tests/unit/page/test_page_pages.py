"""What each page says, over a campaign that ran in the simulator, and over values that others wrote."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
import sqlalchemy as sql

from privacy.accounting import epsilon
from privacy.audit.journal_forms import FORMS
from privacy.audit.journal_forms import Kind as Audited
from privacy.forms import with_fields
from privacy.ledger.export import read_export
from server import tables as db
from server.page.access.access import Access, users_of
from server.page.access.roles import Role
from server.provision.rotate import rotate
from tests.federation.simulator import initial
from tests.federation.test_rounds import CAMPAIGN, World
from tests.unit.page.conftest import Site, put_file

_HOSTILE = "<script>alert(1)</script>\x1b[31m"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", ["spring", "3 of 3", "done"]),
        (
            "/campaigns/spring",
            ["spring", "sft: 2 rounds, then grpo: 1 round", "3 of 3", "Scores", "0.5", "svg"],
        ),
        (
            "/campaigns/spring/rounds/1",
            ["unknown-key", "signed by a key that is not enrolled", "north", "south", "accepted"],
        ),
        (
            "/campaigns/spring/experts",
            ["scale/roi", "task/detection", "the start", "of round 2", "after grpo:"],
        ),
        ("/experts", ["spring", "After 3 of 3 rounds", "stands", "scale__roi.safetensors"]),
        ("/hospitals", ["north", "judge", "evaluator", "days", "unknown-key"]),
        ("/privacy", ["north", "south", "8"]),
        ("/journal", ["enrolment", "campaign", "spring, round 3", "evaluation"]),
    ],
)
def test_a_page_tells_what_the_store_holds(site: Site, path: str, words: list[str]) -> None:
    """Catches a page that is empty, that fails, or that reads the wrong column."""
    text = site.client(Role.COORDINATOR).get(path).text
    assert [word for word in words if word not in text] == []


def test_epsilon_is_the_accountants(site: Site) -> None:
    """Catches a figure from the wrong events: what the hospital's own ledger says, for the rounds that were accepted."""
    hospital = site.world.hospitals["north"]
    text = site.client(Role.AUDITOR).get("/privacy").text
    assert f"{epsilon(hospital.ledger.summary().events, 1e-5):.3f}" in text


def test_the_least_role_sees_no_account(site: Site) -> None:
    client = site.client(Role.READ_ONLY)
    assert "/privacy" not in client.get("/").text
    assert "SHA-256" not in client.get("/campaigns/spring/rounds/1").text
    assert "epsilon" not in client.get("/").text
    for path in ("/campaigns/spring", "/campaigns/spring/experts", "/experts", "/hospitals"):
        assert not re.search(
            r"[0-9a-f]{12}", re.sub(r'name="csrf" value="[^"]*"', "", client.get(path).text)
        ), path
    assert "Refused releases" not in client.get("/hospitals").text


def test_the_exported_journal_is_the_one_that_auditors_take(site: Site, tmp_path: Path) -> None:
    answer = site.client(Role.AUDITOR).get("/journal/export")
    file = tmp_path / "journal.json"
    file.write_bytes(answer.content)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert len(read_export(file).entries) == len(site.world.store.journal())


@pytest.mark.parametrize(
    "path",
    [
        "/campaigns/none",
        "/campaigns/spring/rounds/0",
        "/campaigns/spring/rounds/99",
        "/campaigns/spring/rounds/-1",
        "/campaigns/spring/rounds/1e3",
        "/campaigns/spring/rounds/" + "9" * 40,
        "/campaigns/spring/rounds/\u0661",
        "/campaigns/spring?page=0",
        "/campaigns/spring?page=x",
        "/journal?page=" + "9" * 30,
        "/campaigns/spring/explode",
        "/campaigns/..%2f..%2fetc/rounds/1",
    ],
)
def test_what_is_not_there_is_not_found(site: Site, path: str) -> None:
    """Catches an address that is trusted as far as the store."""
    assert site.client(Role.COORDINATOR).get(path).status_code == 404


@pytest.mark.parametrize("path", ["/campaigns/spring?page=400", "/journal?page=999999999"])
def test_a_page_beyond_the_last_is_empty(site: Site, path: str) -> None:
    assert site.client(Role.COORDINATOR).get(path).status_code == 200


def test_words_of_others_are_no_markup(running_world: World, site: Site) -> None:
    """Catches a hospital's answer or a failure's text that runs in the coordinator's browser."""
    here = running_world
    here.run(replace(CAMPAIGN, stages=(replace(CAMPAIGN.stages[0], rounds=1),)))
    store = here.store
    with store._database.transaction() as connection:
        connection.execute(db.campaigns.update().values(failure=_HOSTILE, doing=_HOSTILE))
        connection.execute(db.asks.update().values(answer=_HOSTILE))
        connection.execute(db.verdicts.update().values(fault=_HOSTILE, expert=_HOSTILE))
        connection.execute(db.evaluations.delete())
        connection.execute(sql.text("UPDATE hospitals SET experts = :it"), {"it": json.dumps([_HOSTILE])})
    hostile = replace_world(site, here)
    client = hostile.client(Role.COORDINATOR)
    for path in (
        "/",
        "/campaigns/spring",
        "/campaigns/spring/rounds/1",
        "/hospitals",
        "/privacy",
        "/journal",
    ):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text, path
        assert "\x1b" not in answer.text, path


def replace_world(site: Site, here: World) -> Site:
    """The same page over another world."""
    return Site(here, Access(users_of(here.home), False, site.clock), site.clock)


def test_pause_resume_and_stop_are_the_commands_own(running_world: World, site: Site) -> None:
    """Catches a button that changes something else than the command does, and a refusal that is a bare error."""
    here = running_world
    here.store.begin(CAMPAIGN, initial(), "1")
    page = replace_world(site, here)
    client = page.client(Role.COORDINATOR)
    form = {"csrf": page.csrf(client)}
    for action, kind in (("pause", "pause"), ("resume", "resume"), ("stop", "stop")):
        assert "Leave it as it is" in client.get(f"/campaigns/spring/{action}").text
        answer = client.post(f"/campaigns/spring/{action}", data=form)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/campaigns/spring")
        assert here.store.journal()[-1].kind == kind
        body = here.store.journal()[-1].body
        assert body == {"campaign": "spring", "by": "cora"}
        assert with_fields(FORMS[Audited(kind)])(body), "the audit takes it"
    refused = client.post("/campaigns/spring/resume", data=form)
    assert refused.status_code == 409
    assert "is not paused" in refused.text


def test_after_a_rotation_the_page_signs_with_the_new_key(running_world: World, site: Site) -> None:
    """Catches a page that lives on with the key that it was started under: the journal would be broken for good."""
    here = running_world
    here.store.begin(CAMPAIGN, initial(), "1")
    page = replace_world(site, here)
    client = page.client(Role.COORDINATOR)
    assert client.get("/campaigns/spring").status_code == 200
    rotate(here.home, datetime.now(UTC))
    assert client.post("/campaigns/spring/pause", data={"csrf": page.csrf(client)}).status_code == 303
    assert here.store.journal()[-1].kind == "pause"
    assert client.get("/journal/export").status_code == 200


def test_a_file_is_the_state_that_stood_then(site: Site) -> None:
    """Catches another round's expert under the name, a file that the store does not name, and a path."""
    client, store = site.client(Role.COORDINATOR), site.world.store
    for number in (1, 3):
        answer = client.get(f"/campaigns/spring/rounds/{number}/scale__roi.safetensors")
        assert answer.content == store.state(store.states("spring", number)["scale/roi"])
        assert answer.headers["content-disposition"] == 'attachment; filename="scale__roi.safetensors"'
    for file in ("scale__odd.safetensors", "scale/roi", "..%2f..%2fconsortium.toml", "consortium.db"):
        assert client.get(f"/campaigns/spring/rounds/1/{file}").status_code == 404, file


def test_a_state_that_was_changed_is_not_handed_out(running_world: World, site: Site) -> None:
    here = running_world
    here.run(replace(CAMPAIGN, stages=(replace(CAMPAIGN.stages[0], rounds=1),)))
    (here.home.folder / "experts" / f"{here.store.states('spring')['scale/roi']}.safetensors").write_bytes(
        b"x"
    )
    client = replace_world(site, here).client(Role.COORDINATOR)
    answer = client.get("/campaigns/spring/rounds/1/scale__roi.safetensors")
    assert (answer.status_code, answer.content == b"x") == (503, False)


def test_only_a_campaign_file_of_the_home_is_started(running_world: World, site: Site) -> None:
    """Catches a path from a form, and a start without a SuperLink that says nothing."""
    here = running_world
    put_file(here)
    put_file(here, "odd.toml").write_text("nonsense")
    put_file(here, ".hidden.toml")
    (here.home.folder / "campaigns" / "linked.toml").mkdir()
    page = replace_world(site, here)
    client = page.client(Role.COORDINATOR)
    shown = client.get("/").text
    assert "/start/spring.toml" in shown
    assert "not TOML" in shown
    assert ".hidden.toml" not in shown
    asked = client.get("/start/spring.toml").text
    assert "sft: 2 rounds of 2 steps, noise multiplier 1" in asked
    assert "Nothing answers on port" in asked
    assert "<button>Start" not in asked
    form = {"csrf": page.csrf(client)}
    for file, word in (("spring.toml", "run `fedpath-consortium start"), ("odd.toml", "not TOML")):
        answer = client.post(f"/start/{file}", data=form)
        assert answer.status_code == 409
        assert word in unescape(answer.text)
    for file in ("other.toml", ".hidden.toml", "linked.toml", "..%2fconsortium.toml", "consortium.toml"):
        assert client.post(f"/start/{file}", data=form).status_code in (404, 409), file
        assert client.get(f"/start/{file}").status_code == 404, file

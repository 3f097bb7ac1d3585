"""`fedpath-hospital upgrade`: what is installed is recorded once it passed, and not before."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from typer.testing import CliRunner

from client.cli import app
from client.installation import installed
from client.selftest import run as selftests
from privacy.ledger.account import Installed
from privacy.selftest.verdict import Check, Finding, Verdict
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]
OLD = Installed("0" * 64, "0.0.9")


def upgrade(place: House, *words: str) -> Result:
    return CliRunner().invoke(app, ["upgrade", str(place.home.folder), *words])


def told(result: Result) -> dict[str, object]:
    values: dict[str, object] = json.loads(result.stdout)
    return values


@pytest.mark.nightly  # a whole self-test; test_client_selftest.py has one in every run
def test_new_code_is_recorded_after_check_and_selftest(house: MakeHouse) -> None:
    """Catches code that is recorded unseen, and an upgrade after which the agent still trains nothing."""
    place = house()
    place.ledger().install(OLD)
    done = upgrade(place, "--json")
    assert done.exit_code == 0, done.output
    values = told(done)
    assert (values["before"], values["after"], values["recorded"]) == (vars(OLD), vars(installed()), True)
    assert place.ledger().installed() == installed()
    assert [entry.kind for entry in place.ledger().entries()] == ["upgrade", "selftest", "upgrade"]
    assert "on record already" in upgrade(place).output


@pytest.mark.parametrize("found_by", ["selftest", "check"])
def test_code_in_which_something_was_found_is_not_recorded(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch, found_by: str
) -> None:
    """Catches an upgrade that ends in success, and trains, with code that was found broken."""
    findings = (Finding(Check.NO_RELEASE, "agent", "nothing came"),) if found_by == "selftest" else ()
    verdict = Verdict(installed().code, findings, {})
    monkeypatch.setattr(selftests, "selftest", lambda base, tell: verdict)
    place = house()
    place.ledger().install(OLD)
    if found_by == "check":
        place.home.node_key.unlink()
    done = upgrade(place)
    assert done.exit_code == 1
    assert "FOUND " in done.output
    assert "NOT recorded" in done.output
    assert place.ledger().installed() == OLD

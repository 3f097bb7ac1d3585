"""What `check` says of the machine: each look finds what it should, and says what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client import check_host, check_machine
from client.check import findings
from client.findings import Finding
from privacy import keys
from privacy.ledger.store import Ledger
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]


@pytest.mark.parametrize(("grave", "constant"), [(True, "LEAST_DISK"), (False, "LITTLE_DISK")])
def test_a_full_disk_is_told(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch, grave: bool, constant: str
) -> None:
    """Catches a disk that fills in mid-round, unsaid; and one that is only getting full taken for full."""
    home = house().home
    monkeypatch.setattr(check_host, "LITTLE_DISK", 1 << 62)
    monkeypatch.setattr(check_host, constant, 1 << 62)
    (found,) = check_host.disk(home)
    assert (found.code, found.where, found.grave) == ("disk", str(home.folder), grave)
    assert "make room" in found.advice


@pytest.mark.parametrize(("ahead", "told"), [(timedelta(minutes=2), False), (timedelta(days=1), True)])
def test_a_clock_that_went_back_is_a_problem(house: MakeHouse, ahead: timedelta, told: bool) -> None:
    """Catches budgets a day that stand still because the ledger's time can't go back; two minutes are no such fault."""
    place = house()
    later = Ledger(place.home.ledger, keys.load(place.home.release_key), lambda: datetime.now(UTC) + ahead)
    later.selftest(True, "0" * 64, [])
    problems = {problem.code: problem.what for problem in findings(place.home).problems}
    assert ("clock" in problems) == told
    assert not told or "last entry is of" in problems["clock"]


def test_a_ledger_is_verified_and_its_budget_told(house: MakeHouse) -> None:
    """Catches a check that says ready over a ledger that was changed."""
    place = house()
    place.ledger().selftest(True, "0" * 64, [])
    (found,) = check_machine.ledger(place.home)
    assert found == Finding("ledger", "its 1 entries verify; epsilon 0.00 of 50 is spent")
    with sqlite3.connect(place.home.folder / "ledger.db") as database:
        database.execute("update entries set at = '2020-01-01T00:00:00.000+00:00'")
    database.close()
    problems = {problem.code for problem in findings(place.home).problems}
    assert problems & {"ledger", "selftest"}


def test_a_couriers_folder_that_is_gone_is_a_problem(house: MakeHouse, tmp_path: Path) -> None:
    """Catches a courier's folder that was moved away, and is taken for one that is shut to the agent."""
    home = house().home
    home.courier.rename(tmp_path / "elsewhere")
    problems = {problem.code: problem.where for problem in findings(home).problems}
    assert problems.get("node-key") == str(home.courier)


def test_every_look_has_its_verdict(house: MakeHouse) -> None:
    """Catches a look that is taken and says neither what it found nor that all is well."""
    found = findings(house().home)
    told = {*found.fine, *(finding.code for finding in (*found.notes, *found.problems))}
    assert told >= {
        "policy",
        "release-key",
        "node-key",
        "expiry",
        "clock",
        "ledger",
        "superlink",
        "disk",
        "gpu",
        "memory",
    }

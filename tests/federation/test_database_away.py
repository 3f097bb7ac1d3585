"""The consortium's database goes away in mid-campaign: a real PostgreSQL server that is killed, a SQLite file that is locked."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from server import engine
from server.errors import DatabaseAway
from server.runner import DATABASE_AWAY_S
from tests.contract import postgresql
from tests.federation.test_rounds import CAMPAIGN, World, world
from tests.federation.test_steer import in_round

_NUMBER = iter(range(10**6))


class Power:
    """A PostgreSQL server that can be off."""

    def __init__(self) -> None:
        self.server = postgresql.start()
        self.on = True

    def cut(self) -> None:
        self.server.down()
        self.on = False

    def back(self) -> None:
        self.server.up()
        self.on = True

    def back_after(self, here: World, sleeps: int) -> None:
        """Switch it on once the campaign has slept so often without it."""
        sleep, left = here.clock.sleep, sleeps

        def sleeping(seconds: float) -> None:
            nonlocal left
            sleep(seconds)
            left -= not self.on
            if not self.on and left == 0:
                self.back()

        here.clock.sleep = sleeping  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def power() -> Iterator[Power]:
    found = Power()
    try:
        yield found
    finally:
        if not found.on:
            found.back()
        found.server.stop()


@pytest.fixture
def here(power: Power, tmp_path: Path) -> World:
    if not power.on:
        power.back()
    url = power.server.create(f"away-{os.getpid()}-{next(_NUMBER)}")
    return world(tmp_path, "north", "south", database=url)


def check_done_once(here: World) -> None:
    assert here.shown()["state"] == "done"
    assert {h.ledger.summary().spent for h in here.hospitals.values()} == {CAMPAIGN.rounds}
    kinds = [entry.kind for entry in here.store.journal() if entry.kind != "enrolment"]
    assert kinds == ["campaign", "round", "round"]


def test_a_database_that_is_away_for_a_while_is_waited_for(
    power: Power, here: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a campaign that ends with its database, or asks hospitals anew for what they are at."""
    in_round(here.hospitals["south"], 1, power.cut)
    power.back_after(here, 20)
    here.run()
    check_done_once(here)
    assert {h.asked.count("train") for h in here.hospitals.values()} == {CAMPAIGN.rounds}
    assert "the campaign waits, for 1800 s at most" in caplog.text


def test_a_database_that_does_not_come_back_ends_the_run_in_time(power: Power, here: World) -> None:
    """Catches a campaign that waits for ever, and one that can't be taken up afterwards."""
    in_round(here.hospitals["south"], 1, power.cut)
    with pytest.raises(DatabaseAway, match="check that the server runs"):
        here.run()
    assert DATABASE_AWAY_S <= here.clock.seconds < 1.1 * DATABASE_AWAY_S
    power.back()
    here.run(run_id="2")
    check_done_once(here)


def at_commit_of_a_round(monkeypatch: pytest.MonkeyPatch, power: Power, *, before: bool) -> list[str]:
    """Cut the power once, as a round's transaction commits: before the server has heard of it, or before it could answer."""
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg as Dialect

    commit, armed, cuts = Dialect.do_commit, [False], list[str]()

    def watch(*given: Any) -> None:
        armed[0] = armed[0] or given[2].startswith("INSERT INTO verdicts")

    def committing(self: Any, connection: Any) -> None:
        cut = armed[0] and not cuts
        if not (cut and before):
            commit(self, connection)
        if cut:
            cuts.append("cut")
            power.cut()
            connection.execute("SELECT 1")  # the connection is found dead

    monkeypatch.setattr(Dialect, "do_commit", committing)
    sql.event.listen(sql.Engine, "before_cursor_execute", watch)
    monkeypatch.setattr(power, "watch", watch, raising=False)
    return cuts


@pytest.mark.parametrize("before", [True, False], ids=["undone", "done"])
def test_a_commit_whose_outcome_is_unknown_is_looked_up(
    power: Power, here: World, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Catches a round that is committed twice or not at all, and a hospital that pays for it again."""
    cuts = at_commit_of_a_round(monkeypatch, power, before=before)
    power.back_after(here, 3)
    try:
        here.run()
    finally:
        sql.event.remove(sql.Engine, "before_cursor_execute", power.watch)  # type: ignore[attr-defined]
    assert cuts == ["cut"]
    check_done_once(here)
    asked = CAMPAIGN.rounds + before  # undone, the round is asked for again, and answered with the same bytes
    assert {h.asked.count("train") for h in here.hospitals.values()} == {asked}


def test_a_file_that_another_process_locks_for_long_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a campaign that a backup of its file ends."""
    monkeypatch.setattr(engine, "WAIT_SECONDS", 0)
    here = world(tmp_path, "north", "south")
    other = sqlite3.connect(here.home.folder / "consortium.db", isolation_level=None)
    in_round(here.hospitals["south"], 1, lambda: other.execute("BEGIN IMMEDIATE"))
    sleep, slept = here.clock.sleep, 0

    def sleeping(seconds: float) -> None:
        nonlocal slept
        sleep(seconds)
        slept += other.in_transaction
        if slept == 10 and other.in_transaction:
            other.execute("ROLLBACK")

    here.clock.sleep = sleeping  # type: ignore[method-assign]
    here.run()
    other.close()
    assert slept == 10
    check_done_once(here)

"""The consortium's database hangs in mid-campaign: all processes of a real PostgreSQL server stand still (SIGSTOP)."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg as Dialect
from typer.testing import CliRunner

from privacy.exposition import as_values
from privacy.ledger import answering
from privacy.ledger import postgresql as connections
from server import metrics
from server.cli import app
from server.database import Patience
from server.errors import DatabaseAway, StoreError
from server.roll import Roll
from server.rounds import Federation
from server.runner import DATABASE_AWAY_S, run_campaign
from tests.contract import postgresql
from tests.federation.simulator import SimulatedGrid, initial
from tests.federation.test_database_away import check_done_once
from tests.federation.test_rounds import CAMPAIGN, World, world
from tests.federation.test_steer import in_round

_NUMBER = iter(range(10**6))


class Stuck:
    """A PostgreSQL server that can hang; `cut` and `back` are what a power's are in `test_database_away`."""

    def __init__(self) -> None:
        self.server = postgresql.start()
        self.hangs = False

    def cut(self) -> None:
        self.server.hang()
        self.hangs = True

    def back(self) -> None:
        self.server.wake()
        self.hangs = False


@pytest.fixture(scope="module")
def stuck() -> Iterator[Stuck]:
    found = Stuck()
    try:
        yield found
    finally:
        found.back()
        found.server.stop()


@pytest.fixture
def here(stuck: Stuck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(answering, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 2)
    stuck.back()
    url = stuck.server.create(f"hung-{os.getpid()}-{next(_NUMBER)}")
    return world(tmp_path, "north", "south", database=url)


def run(here: World, run_id: str = "1", patience_s: float = DATABASE_AWAY_S) -> None:
    """As a ServerApp's process does, for as long as it lives."""
    with here.home.only_runner("spring"):
        patience = Patience(patience_s, here.clock, here.home.waiting("spring"))
        store = here.home.store(here.clock.now, patience)
        grid = SimulatedGrid(here.hospitals.values(), here.clock)
        house = Federation(grid, store, here.home.coordinator(), here.clock, Roll(grid, store, here.clock))
        run_campaign(house, CAMPAIGN, initial(), run_id)


@contextmanager
def each_sleep_while_waiting(here: World, stuck: Stuck, do: Callable[[int], None]) -> Iterator[None]:
    """Call `do` with the number of the sleep, for each while the campaign waits for the database."""
    sleep, slept = here.clock.sleep, 0

    def sleeping(seconds: float) -> None:
        nonlocal slept
        sleep(seconds)
        if stuck.hangs and here.home.waiting("spring").read() is not None:
            slept += 1
            do(slept)

    here.clock.sleep = sleeping  # type: ignore[method-assign]
    yield


def told(here: World) -> tuple[int, dict[str, object], str]:
    """What `status` says: its exit status, its JSON, and its error."""
    done = CliRunner().invoke(app, ["status", str(here.home.folder), "--json"])
    return done.exit_code, json.loads(done.stdout), done.stderr


def test_a_database_that_hangs_is_waited_for_and_status_says_so(stuck: Stuck, here: World) -> None:
    """Catches a campaign that blocks for ever on a server that is stopped, and commands that do, or keep silent about it."""
    looks: list[tuple[int, dict[str, object], str]] = []

    def look(sleep: int) -> None:
        if sleep == 1:
            looks.append(told(here))
            text = metrics.text(here.home, store, datetime.now(UTC)).decode()
            figures = {str(value["name"]): value["value"] for value in as_values(text)}
            assert (figures["fedpath_database_up"], figures["fedpath_campaign_alive"]) == (0, 1)
            assert "fedpath_days_left" in figures
        if sleep == 2:
            stuck.back()

    store = here.store
    in_round(here.hospitals["south"], 1, stuck.cut)
    with each_sleep_while_waiting(here, stuck, look):
        run(here)
    check_done_once(here)
    ((code, said, error),) = looks
    assert code == 1
    assert "check that the server runs" in error
    (campaign,) = said["campaigns"]  # type: ignore[misc]
    assert (campaign["name"], campaign["alive"]) == ("spring", True)
    wait = campaign["waits_for_database"]
    began, ends = (datetime.fromisoformat(wait[key]) for key in ("since", "until"))
    assert (ends - began).total_seconds() == pytest.approx(DATABASE_AWAY_S, abs=60)
    assert not here.home.waiting("spring").path.exists()
    code, said, _ = told(here)
    assert (code, said["database_fault"]) == (0, None)


def test_a_run_that_gives_up_is_told_apart_from_one_that_runs(stuck: Stuck, here: World) -> None:
    """Catches a campaign of which `status` says "running" for ever, because its end could not be written down."""
    in_round(here.hospitals["south"], 1, stuck.cut)
    with pytest.raises(DatabaseAway, match="check that the server runs"):
        run(here, patience_s=3.0)
    stuck.back()
    assert not here.home.waiting("spring").path.exists()
    shown = here.shown()
    assert (shown["state"], shown["alive"], shown["waits_for_database"]) == ("running", False, None)
    printed = CliRunner().invoke(app, ["status", str(here.home.folder)], env={"COLUMNS": "200"})
    assert "running, but no process runs it: run it again" in " ".join(printed.output.split())
    run(here, "2")
    check_done_once(here)


def test_a_commit_that_the_server_makes_after_it_was_given_up_stands(
    stuck: Stuck, here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a round that is committed twice: the server hangs, with COMMIT in its socket, and makes it when it wakes."""
    commit, armed, cuts = Dialect.do_commit, [False], list[str]()

    def watch(*given: Any) -> None:
        armed[0] = armed[0] or given[2].startswith("INSERT INTO verdicts")

    def committing(self: Any, connection: Any) -> None:
        if armed[0] and not cuts:
            cuts.append("hung")
            stuck.cut()
        commit(self, connection)

    monkeypatch.setattr(Dialect, "do_commit", committing)
    sql.event.listen(sql.Engine, "before_cursor_execute", watch)
    try:
        with each_sleep_while_waiting(here, stuck, lambda sleep: stuck.back() if sleep == 2 else None):
            run(here)
    finally:
        sql.event.remove(sql.Engine, "before_cursor_execute", watch)
    assert cuts == ["hung"]
    check_done_once(here)
    assert {h.asked.count("train") for h in here.hospitals.values()} == {CAMPAIGN.rounds}


def test_whoever_does_not_wait_is_told_within_bounds(stuck: Stuck, here: World) -> None:
    """Catches a command, or the page, that hangs with the database: each wait has an end, in an open connection too."""
    store = here.store
    stuck.cut()
    ended: list[tuple[str, float]] = []

    def ask() -> None:
        begun = time.monotonic()
        try:
            store.hospitals()
        except StoreError as error:
            ended.append((str(error), time.monotonic() - begun))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(300)
    assert ended, "it waits for ever"
    assert "check that the server runs" in ended[0][0]

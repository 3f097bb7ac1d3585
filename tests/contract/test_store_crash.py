"""The consortium's process killed at every point between two writes: each decision stands whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.home import Home
from server.status import status
from tests.contract.nursery import nursery
from tests.contract.postgresql import Server
from tests.contract.store_places import Make
from tests.federation.simulator import initial
from tests.store_cases import CAMPAIGN, Place, commit, fresh

Run = Callable[[Place, int], list[str]]
PARTS = 6  # of the table, so that no test is long; one of them in every run

POINTS = {
    *(
        f"{when} INSERT {table}"
        for when in ("before", "after")
        for table in (
            *(
                "journal enrolment",
                "journal campaign",
                "journal round",
                "journal evaluation",
                "journal revocation",
            ),
            *(
                "hospitals",
                "campaigns",
                "rounds",
                "asks",
                "verdicts",
                "aggregates",
                "receipts",
                "evaluations",
            ),
            "revocations",
        )
    ),
    *(
        f"{when} UPDATE {table}"
        for when in ("before", "after")
        for table in ("rounds", "receipts", "campaigns")
    ),
    "before CREATE hospitals",
    "after CREATE evaluations",
    "before commit",
    "after commit",
}


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Ask the nursery for one life that ends at a point (0: at none); what it said."""
    with nursery("tests.contract.store_crash_child") as ask:
        yield lambda place, last: ask({"folder": str(place.folder / "home"), "last": last})


@pytest.fixture
def new(places: Make) -> Callable[[], Place]:
    """Make homes whose stores were never opened."""

    def make() -> Place:
        made = places()
        return fresh(made.folder, made.url)

    return make


def told(said: list[str], word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in said if line.startswith(f"{word} ")]


def check_whole(place: Place, said: list[str]) -> None:
    """What was told stands, and whatever stands does so with all that belongs to it."""
    home = Home.open(place.folder / "home")
    store = home.store()  # the journal is verified
    entries = store.journal()
    enrolled = {entry.body["hospital"] for entry in entries if entry.kind == "enrolment"}
    assert set(told(said, "enrolled")) <= enrolled == set(store.hospitals()) | set(store.revoked())
    rounds = [entry.body for entry in entries if entry.kind == "round"]
    for campaign in status(home)["campaigns"]:
        shown = [row for row in campaign["rounds"] if row["committed_at"]]
        assert [body["number"] for body in rounds] == [row["number"] for row in shown]
        assert len(rounds) >= len(told(said, "committed"))
        for body, row in zip(rounds, shown, strict=True):
            assert (len(row["verdicts"]), set(row["aggregates"])) == (1, {"scale/roi"})
            assert {store.state(digest) for digest in body["states"].values()}
            assert store.release(body["verdicts"][0]["release"]) == b"release %d" % body["number"]
            assert store.states("spring", body["number"]) == body["states"]
        evaluated = [entry for entry in entries if entry.kind == "evaluation"]
        assert len(evaluated) == len(campaign["evaluations"]) >= said.count("evaluated")
    for name, owed in store.owed().items():
        assert f"delivered {name} {owed.number}" not in said
    assert said.count("revoked") <= len(store.revoked())


def check_all_done_once(place: Place, said: list[str]) -> None:
    check_whole(place, said)
    store = place.home().store()
    kinds = [entry.kind for entry in store.journal()]
    assert kinds == ["enrolment", "enrolment", "campaign", "round", "round", "evaluation", "revocation"]
    assert store.owed() == {}


def test_the_table_has_every_write(new: Callable[[], Place], run: Run) -> None:
    """Catches a write that the table below never meets."""
    said = run(place := new(), 0)
    assert said[-1] == "lived", said[-1]
    check_all_done_once(place, said)
    assert set(told(said, "at")) >= POINTS, POINTS - set(told(said, "at"))


@pytest.mark.parametrize("part", [0, *(pytest.param(n, marks=pytest.mark.nightly) for n in range(1, PARTS))])
def test_killed_at_every_point_between_two_writes(new: Callable[[], Place], run: Run, part: int) -> None:
    """Catches a round, evaluation, enrolment or revocation that is half there, lost, or there twice.

    At each point the process is killed, what it had said is compared with what stands, and a new process takes up the
    work and does it all.
    """
    point = part + 1
    while (said := run(place := new(), point))[-1] == "killed":
        where = told(said, "at")[-1]
        check_whole(place, said)
        again = run(place, 0)
        assert again[-1] == "lived", (where, again)
        check_all_done_once(place, said + again)
        point += PARTS
    assert said[-1] == "lived"
    assert point > 60


def test_a_database_server_that_dies_loses_no_round_that_was_told(server: Server, tmp_path: Path) -> None:
    """Catches a server's default of asynchronous commits, under which a round is told before it is durable."""
    name = f"store-power-{os.getpid()}"
    place = Place(tmp_path, server.create(name))
    store = place.home().store()
    with server.connect() as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit TO off')
    store.begin(CAMPAIGN, initial(), "1")
    for number in (1, 2, 3):
        commit(store, number)
        server.crash()
        assert place.home().store().progress("spring").rounds == number
    server.drop(name)

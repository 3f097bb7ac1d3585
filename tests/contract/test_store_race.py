"""Processes that race for one round, or for the end of the journal, on both databases: real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from server.campaign import Progress
from tests.federation.simulator import initial
from tests.store_cases import CAMPAIGN, Place

RACER = """
import sys
from pathlib import Path
from privacy import keys
from server.errors import StoreError
from server.home import Home
from server.records import Hospital
from tests.store_cases import commit, opened, TRAINED, VERDICTS

folder, what, name = sys.argv[1:]
store = Home.open(Path(folder)).store()
begun = opened(store, 1)
print("ready", flush=True)
sys.stdin.readline()
if what == "commit":
    try:
        store.commit_round(begun, TRAINED, VERDICTS, {}, {}, keep_releases=False)
    except StoreError as error:
        print("refused" if "can't be committed" in str(error) else repr(error))
    else:
        print("committed")
else:
    for number in range(20):
        key = keys.of_seed(f"{name} {number}".ljust(32).encode()).public
        store.enrol(Hospital(f"{name}-{number}", key, f"{name} {number}".encode(), False))
    print("enrolled")
"""


def race(place: Place, what: str, names: Sequence[str]) -> list[str]:
    """What each process said at its end; all are let go at once."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(place.folder / "home"), what, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    return [racer.communicate(timeout=300)[0].strip() for racer in racers]


@pytest.fixture
def begun(place: Place) -> Place:
    place.home().store().begin(CAMPAIGN, initial(), "1")
    return place


def test_one_of_two_processes_commits_a_round(begun: Place) -> None:
    """Catches a round that two runners commit: the second one's states would be told, and the first one's journalled."""
    assert sorted(race(begun, "commit", ["a", "b", "c"])) == ["committed", "refused", "refused"]
    store = begun.home().store()
    assert store.progress("spring") == Progress(1)
    assert [entry.kind for entry in store.journal()] == ["campaign", "round"]


def test_two_processes_append_to_one_chain(begun: Place) -> None:
    """Catches two entries that follow the same one: the chain would break, or one of them be lost."""
    assert race(begun, "enrol", ["a", "b"]) == ["enrolled", "enrolled"]
    store = begun.home().store()
    assert len(store.hospitals()) == 40
    names = [entry.body["hospital"] for entry in store.journal() if entry.kind == "enrolment"]
    assert sorted(names) == sorted(store.hospitals())

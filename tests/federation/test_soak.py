"""Two hundred rounds under random deaths: nightly."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from privacy.audit import chain
from privacy.audit.findings import Code
from privacy.audit.journal import read_journal
from privacy.audit.sources import read_source
from privacy.audit.verify import Trusted, audit
from privacy.ledger.entries import Kind
from privacy.ledger.export import write_export
from privacy.ledger.store import Ledger
from privacy.second_accountant import epsilon as second_epsilon
from server import journal
from server.evidence import hand_over
from strategies.definition import Stage
from strategies.replay import replay
from tests.federation.simulator import SimulatedClock
from tests.federation.test_rounds import CAMPAIGN, MECHANISM, World, world

ROUNDS = 200
NAMES = ("north", "south", "coast")
SHORTEST_S, LONGEST_S = 0.02, 4.0  # of a life
SOAK = replace(CAMPAIGN, stages=(Stage("sft", ROUNDS, ("scale/roi",), 0.01, MECHANISM),), keep_releases=True)

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]


class Clock(SimulatedClock):
    """Waiting takes no time, and the time of day is the machine's, as the hospitals' is."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def _life(here: World, number: int, seconds: float) -> bool:
    """One process that runs the campaign, coordinator and hospitals, and is killed after so long; whether it got to the end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for hospital in here.hospitals.values():
                hospital.ledger.void_unspent()  # as an agent does that starts
            here.run(SOAK, run_id=str(number))
            status = 0
        finally:
            os._exit(status)
    time.sleep(seconds)  # when it dies is chance, and is meant to be
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, "the campaign could not be taken up"
    return os.WIFEXITED(status)


def test_two_hundred_rounds_under_random_kills_leave_books_that_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a death, at a moment that no table of named ones has, after which a round is lost, stands twice, is paid for twice
    or for nothing, or can't be recomputed.
    """
    seed = int.from_bytes(os.urandom(4))
    chance = random.Random(seed)  # moments of death, not secrets
    here = world(tmp_path, *NAMES)
    here.clock = Clock()
    for hospital in here.hospitals.values():
        assert hospital.supernode_key  # as it was enrolled: the same in every life
    lives, done = 0, False
    while not done:
        lives += 1
        done = _life(here, lives, chance.uniform(SHORTEST_S, LONGEST_S))
        with capsys.disabled():
            committed = here.store.progress(SOAK.name).rounds if here.store.campaigns() else 0
            print(f"\rseed {seed}: life {lives}, {committed} of {ROUNDS} rounds", end="", flush=True)
    _check_books(here, tmp_path)


def _check_books(here: World, folder: Path) -> None:
    """Both sides' exports in an auditor's hands, every round recomputed, and every event of every ledger accounted for."""
    store, key = here.store, here.home.coordinator()
    entries = store.journal()
    journal.export(folder / "journal.jsonl", entries, key, datetime.now(UTC))
    assert list(hand_over(store, entries, folder / "kept")) == []
    sources = [read_source(folder / "journal.jsonl")]
    for name, hospital in here.hospitals.items():
        ledger = Ledger(hospital.folder / "ledger.db", hospital.key)
        kinds = Counter(entry.kind for entry in ledger.entries())
        summary = ledger.summary()
        assert (summary.spent, summary.reserved) == (ROUNDS, 0)
        assert kinds[Kind.RESERVATION] == kinds[Kind.SPEND] + kinds[Kind.VOID]
        assert len(summary.events) == kinds[Kind.RESERVATION]
        assert kinds[Kind.RECEIPT] == ROUNDS
        write_export(folder / f"{name}.jsonl", ledger.entries(), hospital.key, "2031-01-01")
        sources.append(read_source(folder / f"{name}.jsonl"))
    trusted = Trusted(tuple(h.key.public for h in here.hospitals.values()), (key.public,))
    found = audit(sources, trusted, second_epsilon).findings
    assert {item.code for item in found} == {Code.NOT_LOGGED}  # simulated hospitals keep no log of what left
    book = read_journal(sources[0], chain.check(sources[0], (key.public,)))
    rounds = list(replay(book, folder / "kept"))
    assert [(done.round, done.differences, done.left_out) for done in rounds] == [
        (number, (), None) for number in range(1, ROUNDS + 1)
    ]

"""The coordinator's process killed, SIGKILL, in every phase of a campaign, and clocks that disagree (docs/faults.md)."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from privacy.ledger.store import Ledger
from server.blobs import Blobs
from server.store import Store
from strategies.flower import FedPathStrategy
from tests.federation.test_rounds import CAMPAIGN, World, world


@dataclass(frozen=True)
class Kill:
    """Die before or after the `count`-th call of a method of the coordinator's."""

    name: str
    owner: Any
    method: str
    when: str = "before"
    count: int = 1

    def __str__(self) -> str:
        return self.name


KILLS = (
    Kill("before the campaign begins", Store, "begin"),
    Kill("before a round is opened", Store, "open_round"),
    Kill("once a round is opened", Store, "open_round", "after"),
    Kill("once a hospital is asked", Store, "asked", "after"),
    Kill("after the first answer", Store, "answered", "after"),
    Kill("once a release is put aside", Store, "put_aside", "after"),
    Kill("in aggregation", FedPathStrategy, "aggregate_train"),
    Kill("before the commit", Store, "commit_round"),
    Kill("in the commit, states written", Blobs, "put", "after", 8),
    Kill("in the commit, inside its transaction", Store, "_record", "before", 2),
    Kill("after the commit", Store, "commit_round", "after"),
    Kill("in the second round", Store, "answered", "after", 3),
    Kill("in a receipt's delivery", Store, "delivered"),
    Kill("after a receipt's delivery", Store, "delivered", "after"),
    Kill("before an evaluation is committed", Store, "commit_evaluation"),
    Kill("after an evaluation is committed", Store, "commit_evaluation", "after"),
    Kill("before the campaign is called done", Store, "finished"),
)


def killed(kill: Kill, run: Callable[[], None]) -> bool:
    """Whether a process of its own, which runs `run`, died at that point, rather than ended."""
    child = os.fork()
    if child == 0:
        original, calls = getattr(kill.owner, kill.method), 0

        def dying(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if kill.when == "before" and calls == kill.count:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **named)
            if kill.when == "after" and calls == kill.count:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(kill.owner, kill.method, dying)
        try:
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def check_done_once(here: World) -> None:
    """Every round committed once, paid for once, receipted, and told in a journal that verifies."""
    shown = here.shown()
    assert (shown["state"], shown["rounds_committed"]) == ("done", CAMPAIGN.rounds)
    told = Counter(entry.kind for entry in here.store.journal())
    assert (told["round"], told["campaign"]) == (CAMPAIGN.rounds, 1)
    assert here.store.owed() == {}
    for name in ("north", "south"):
        hospital = here.hospitals[name]
        summary = hospital.ledger.summary()
        assert (summary.spent, len(summary.events), summary.reserved) == (CAMPAIGN.rounds, CAMPAIGN.rounds, 0)
        assert summary.receipts == CAMPAIGN.rounds
        hospital.ledger.verify(hospital.key.public)


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_a_coordinator_killed_in_any_phase_goes_on_from_its_last_commit(kill: Kill, tmp_path: Path) -> None:
    """Catches a round that is committed by halves or twice, a hospital that pays twice, an evaluation asked for again
    once it stands, a receipt that is lost, and a campaign that can't be taken up.
    """
    here = world(tmp_path, "north", "south", evaluator=True)
    campaign = replace(CAMPAIGN, evaluate="stages")
    for hospital in here.hospitals.values():
        assert hospital.supernode_key  # as it was enrolled: the same in the process that is killed
    assert killed(kill, lambda: here.run(campaign)), "it never came to that point"
    here.run(campaign, run_id="2")
    check_done_once(here)
    assert [row["point"] for row in here.shown()["evaluations"]] == ["base", "sft"]


SKEWS = (timedelta(minutes=5), timedelta(minutes=-5), timedelta(days=1), timedelta(days=-1))


@pytest.mark.parametrize("skew", SKEWS, ids=str)
def test_a_hospital_whose_clock_is_off_takes_part_as_any_other(skew: timedelta, tmp_path: Path) -> None:
    """Catches a round, a receipt or a book that hangs on two machines' clocks agreeing."""
    here = world(tmp_path, "north", "south")
    north = here.hospitals["north"]
    north.ledger = Ledger(north.folder / "ledger.db", north.key, lambda: datetime.now(UTC) + skew)
    here.run()
    check_done_once(here)
    assert {name: here.faults_of(2, name) for name in here.hospitals} == {"north": {None}, "south": {None}}

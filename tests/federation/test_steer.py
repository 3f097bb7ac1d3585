"""A campaign that is paused, resumed and stopped while it runs, over a simulated grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from privacy.audit.chain import check
from privacy.audit.journal import read_journal
from privacy.audit.sources import read_source
from server.errors import CampaignError, CampaignStopped
from server.journal import export
from server.status import status, tables
from tests.federation.simulator import SimulatedHospital
from tests.federation.test_rounds import CAMPAIGN, World, world


def in_round(hospital: SimulatedHospital, number: int, do: Callable[[], object]) -> None:
    """Do this once, while the hospital answers its `number`-th train message."""
    answer, count = hospital.answer, 0

    def answering(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        nonlocal count
        count += method == "train"
        said = answer(method, parts)
        if method == "train" and count == number:
            do()
        return said

    hospital.answer = answering  # type: ignore[method-assign]


class Night(BaseException):
    """Stands for a test that has waited long enough."""


def at_second_sleep_while_paused(here: World, do: Callable[[], object]) -> None:
    """Do this once the campaign says that it is paused, and has waited twice."""
    sleep, waited = here.clock.sleep, 0

    def sleeping(seconds: float) -> None:
        nonlocal waited
        sleep(seconds)
        state = here.store.run_state("spring")
        if state is not None and state.state == "paused":
            waited += 1
            if waited == 2:
                do()

    here.clock.sleep = sleeping  # type: ignore[method-assign]


def kinds(here: World) -> list[str]:
    return [entry.kind for entry in here.store.journal() if entry.kind != "enrolment"]


def test_a_pause_lets_the_round_end_and_a_resume_goes_on(tmp_path: Path) -> None:
    """Catches a pause that throws a paid round away, one that nothing waits for, and a campaign that never goes on."""
    here = world(tmp_path, "north", "south")
    in_round(here.hospitals["south"], 1, lambda: here.store.pause("spring"))
    seen: list[tuple[str, int]] = []

    def go_on() -> None:
        seen.append((here.shown()["state"], here.shown()["rounds_committed"]))
        here.store.resume("spring")

    at_second_sleep_while_paused(here, go_on)
    here.run()
    assert seen == [("paused", 1)]
    assert (here.shown()["state"], here.shown()["held_at"]) == ("done", None)
    assert kinds(here) == ["campaign", "pause", "round", "resume", "round"]
    assert {h.ledger.summary().spent for h in here.hospitals.values()} == {CAMPAIGN.rounds}


def test_a_paused_campaign_stays_paused_when_it_is_run_anew(tmp_path: Path) -> None:
    """Catches a pause that a restart forgets."""
    here = world(tmp_path, "north", "south")
    in_round(here.hospitals["south"], 1, lambda: here.store.pause("spring"))

    def night() -> None:
        raise Night

    for run_id in ("1", "2"):
        at_second_sleep_while_paused(here, night)
        with pytest.raises(Night):
            here.run(run_id=run_id)
        del here.clock.sleep  # type: ignore[method-assign]
        assert (here.shown()["state"], here.shown()["rounds_committed"]) == ("paused", 1)
        assert here.hospitals["north"].asked.count("train") == 1
    here.store.resume("spring")
    here.run(run_id="3")
    assert here.shown()["state"] == "done"


def test_a_stopped_run_commits_nothing_and_costs_nobody(tmp_path: Path) -> None:
    """Catches a round that is committed after the stop, and a hospital that pays twice when the campaign is run again."""
    here = world(tmp_path, "north", "south")
    in_round(here.hospitals["south"], 2, lambda: here.store.stop("spring"))
    with pytest.raises(CampaignStopped, match="last committed round"):
        here.run()
    assert (here.shown()["state"], here.shown()["rounds_committed"]) == ("stopped", 1)
    assert here.shown()["failure"] is None
    assert kinds(here) == ["campaign", "round", "stop"]
    before = {name: hospital.ledger.summary().spent for name, hospital in here.hospitals.items()}
    assert before == {"north": 2, "south": 2}
    first = dict(here.hospitals["north"]._last)
    here.run(run_id="2")
    assert here.shown()["state"] == "done"
    assert here.hospitals["north"]._last == first
    assert {name: hospital.ledger.summary().spent for name, hospital in here.hospitals.items()} == before


def test_a_stop_ends_a_pause(tmp_path: Path) -> None:
    """Catches a run that waits for ever although it was stopped, and a campaign that is still paused when run again."""
    here = world(tmp_path, "north", "south")
    in_round(here.hospitals["south"], 1, lambda: here.store.pause("spring"))
    at_second_sleep_while_paused(here, lambda: here.store.stop("spring"))
    with pytest.raises(CampaignStopped):
        here.run()
    here.run(run_id="2")
    assert here.shown()["state"] == "done"


def test_what_makes_no_sense_is_refused_and_not_journalled(tmp_path: Path) -> None:
    """Catches a journal of steps that changed nothing."""
    here = world(tmp_path, "north", "south")
    for step in (here.store.pause, here.store.resume, here.store.stop):
        with pytest.raises(CampaignError, match="never begun"):
            step("spring")
    here.run()
    for step, why in (
        (here.store.pause, "is done"),
        (here.store.resume, "is not paused"),
        (here.store.stop, "no run to stop"),
    ):
        with pytest.raises(CampaignError, match=why):
            step("spring")
    assert kinds(here) == ["campaign", "round", "round"]


def test_status_says_that_a_pause_is_to_come(tmp_path: Path) -> None:
    """Catches a pause that nobody sees until the round has ended, which may be a day."""
    here = world(tmp_path, "north", "south")
    seen: list[str] = []

    def look() -> None:
        here.store.pause("spring")
        seen.append(str(tables(status(here.home))[2].title))
        here.store.stop("spring")

    in_round(here.hospitals["south"], 1, look)
    with pytest.raises(CampaignStopped):
        here.run()
    assert "running (to pause)" in seen[0]


def test_the_audit_knows_the_journals_of_steered_campaigns(tmp_path: Path) -> None:
    """Catches an auditor that calls a pause an unknown entry, and one that believes a stop of nothing."""
    here = world(tmp_path, "north", "south")
    in_round(here.hospitals["south"], 1, lambda: (here.store.pause("spring"), here.store.resume("spring")))
    in_round(here.hospitals["south"], 2, lambda: here.store.stop("spring"))
    with pytest.raises(CampaignStopped):
        here.run()
    key = here.home.coordinator()
    export(tmp_path / "journal.jsonl", here.store.journal(), key, here.clock.now())
    source = read_source(tmp_path / "journal.jsonl")
    assert read_journal(source, check(source, [key.public])).findings == ()
    forged = tuple(
        replace(entry, body={"campaign": "autumn"}) if entry.kind == "stop" else entry
        for entry in source.entries
    )
    (finding,) = read_journal(replace(source, entries=forged), check(source, [key.public])).findings
    assert "steers a campaign that was not begun: 'autumn'" in finding.text

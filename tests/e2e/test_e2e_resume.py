"""Kills in mid-round: the campaign goes on, and no round is paid for twice."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from client.home import Home
from demo.processes import status_of
from privacy import keys
from privacy.ledger.entries import Kind
from privacy.ledger.store import Ledger
from tests import process_tree
from tests.e2e.conftest import Running, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("two hospitals")]


def _spent(home: Home, campaign: str) -> Counter[int]:
    """How often each round of a campaign was paid for and not voided."""
    entries = Ledger(home.ledger, keys.load(home.release_key)).entries()
    voided = {entry.body["reservation"] for entry in entries if entry.kind == Kind.VOID}
    return Counter(
        entry.body["round"]
        for entry in entries
        if entry.kind == Kind.RESERVATION and entry.body["campaign"] == campaign and entry.hash not in voided
    )


def test_a_hospital_killed_in_mid_round_costs_no_double_spend(running: Running) -> None:
    """Catches a round that is lost with one hospital, and a hospital that pays twice for one round after a kill."""
    federation, north, south = (
        running.federation,
        running.federation.hospitals["north"],
        running.federation.hospitals["south"],
    )
    campaign = federation.campaign("harvest", sft_rounds=2)
    done: list[int] = []
    runner = threading.Thread(target=lambda: done.append(federation.run(campaign).returncode))
    runner.start()
    ledger = Ledger(north.ledger, keys.load(north.release_key))
    until(lambda: ledger.summary().reserved == 1, "north trained")
    running.agents["north"].kill()
    assert ledger.summary().reserved == 1, "the kill came between reservation and spend"
    running.restart_agent("north")
    runner.join()
    restarted = status_of(north)
    assert restarted is not None
    settled = restarted["voided_at_start"], restarted["interrupted_at_start"]
    assert settled in ((1, 0), (0, 1)), (
        "what was reserved and never sent is given back, or goes on from its last step"
    )
    if done != [0]:  # its attempts were used up while north was away: the coordinator runs it again
        again = federation.run(campaign)
        assert again.returncode == 0, again.stdout + again.stderr
    assert federation.status("harvest")["state"] == "done"
    for home in (north, south):
        assert _spent(home, "harvest") == {1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize(
    "victim",
    ["everything of the server's", pytest.param("the ServerApp alone", marks=pytest.mark.nightly)],
)
def test_a_server_killed_in_mid_round_goes_on_from_the_last_commit(running: Running, victim: str) -> None:
    """Catches a campaign that starts over, one that waits for ever, and hospitals that pay twice for a round."""
    federation = running.federation
    name = f"winter-{len(victim)}"
    campaign = federation.campaign(name, sft_rounds=2)
    ledger = Ledger((home := federation.hospitals["north"]).ledger, keys.load(home.release_key))
    paid = len(ledger.summary().events)
    said: list[str] = []
    runner = threading.Thread(target=lambda: said.append(federation.run(campaign).stderr))
    runner.start()
    until(lambda: len(ledger.summary().events) == paid + 2, "north paid for the second round")
    if victim == "the ServerApp alone":
        (server_app,) = process_tree.running(running.superlink.process.pid, "flwr-serverapp")
        server_app.kill()
    else:
        running.superlink.kill()
        running.restart_superlink()
    runner.join()
    assert federation.status(name)["rounds_committed"] >= 1
    if "error" in said[0]:
        again = federation.run(campaign)
        assert again.returncode == 0, again.stdout + again.stderr
    assert federation.status(name)["state"] == "done"
    for home in federation.hospitals.values():
        if home.policy.public_data is False:
            assert _spent(home, name) == {1: 1, 2: 1, 3: 1}

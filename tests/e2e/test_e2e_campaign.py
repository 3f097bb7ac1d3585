"""The whole way over TLS on loopback, with every byte between courier and agent recorded."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from client.home import Home
from demo.processes import status_of
from privacy import accounting, keys
from privacy.ledger.reading import Summary
from privacy.ledger.store import Ledger
from privacy.release import MAGIC
from tests.e2e.conftest import Running, until
from tests.e2e.what_left import parts_that_left
from tests.e2e.wiretap import Wiretap

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("two hospitals")]


def test_a_campaign_runs_and_only_releases_and_codes_leave(running: Running) -> None:
    """Catches a break anywhere on the way, and any byte of a hospital's own in what its agent answers."""
    federation = running.federation
    hospitals = {name: home for name, home in federation.hospitals.items() if not home.policy.public_data}
    before = {name: _summary(home) for name, home in hospitals.items()}
    taps = {name: Wiretap(home) for name, home in hospitals.items()}
    try:
        done = federation.run(federation.campaign("spring", evaluate="stages"))
    finally:
        for name, tap in taps.items():
            tap.remove(hospitals[name])
    assert done.returncode == 0, done.stdout + done.stderr
    status = federation.status("spring")
    assert status["state"] == "done"
    assert {row["point"] for row in status["evaluations"]} == {"base", "sft", "grpo"}
    accepted = {
        (v["hospital"], v["expert"]) for r in status["rounds"] for v in r["verdicts"] if v["fault"] is None
    }
    assert ("north", "task/detection") in accepted
    assert ("south", "task/detection") not in accepted  # it has no such labels: its release lacks the expert
    assert ("south", "task/vqa") in accepted
    for name, home in hospitals.items():
        _check_what_left(home, taps[name], before[name])


def _summary(home: Home) -> Summary:
    return Ledger(home.ledger, keys.load(home.release_key)).summary()


def _check_what_left(home: Home, tap: Wiretap, before: Summary) -> None:
    parts = parts_that_left(home, tap)
    for name, value in parts:
        kind = name.split("/")[0]
        assert kind in {"release", "code", "description"}, name
        assert kind != "release" or value.startswith(MAGIC)
    kinds = Counter(name.split("/")[0] for name, _ in parts)
    assert kinds == {"description": 1, "release": len(home.policy.experts)}
    ledger = Ledger(home.ledger, keys.load(home.release_key))
    summary = ledger.summary()
    assert (summary.spent - before.spent, summary.reserved) == (2, 0)
    assert summary.receipts - before.receipts == 2
    status = status_of(home)
    assert status is not None
    assert status["epsilon"] == pytest.approx(accounting.epsilon(summary.events, home.policy.delta))


def test_the_agent_says_that_it_has_no_network_and_the_courier_how_it_is_confined(running: Running) -> None:
    """Catches a cut that is silently skipped where the system allows it."""
    for name, home in running.federation.hospitals.items():
        status = status_of(home)
        assert status is not None
        assert re.match("none: a network namespace of its own|NOT cut off", status["network"])
        assert home.courier_report.read_text().strip(), name


def test_logs_tell_of_the_campaign_on_both_sides(running: Running) -> None:
    """Catches a log that Flower's programs swallow, and one of an agent that holds anything but events."""
    done = running.federation.run(running.federation.campaign("logged"))
    assert done.returncode == 0, done.stdout + done.stderr

    def mine() -> list[str]:
        lines = running.superlink.log.read_text("utf-8", "replace").splitlines()
        told = [json.loads(line) for line in lines if line.startswith('{"at": ')]
        return [event["event"] for event in told if event.get("campaign") == "logged"]

    until(lambda: "campaign-done" in mine(), "the log says that the campaign is done", 60)
    assert mine()[0] == "campaign-running"
    assert mine().count("round-committed") == 2
    for child in running.agents.values():
        events = [json.loads(line) for line in child.log.read_text("utf-8").splitlines()]
        assert "agent-ready" in {event["event"] for event in events}

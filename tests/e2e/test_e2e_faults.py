"""Faults of real processes that take minutes: a certificate that expires in mid-round, and two couriers with one key."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest

from client.home import Home
from demo.processes import ProcessError
from privacy import keys
from privacy.ledger.store import Ledger
from server.provision.authority import SERVER_DAYS, renew_server
from tests.e2e.conftest import Running, until
from tests.e2e.federation import Federation
from tests.e2e.test_e2e_resume import _spent

pytestmark = [pytest.mark.nightly, pytest.mark.e2e, pytest.mark.xdist_group("two hospitals")]

GOOD_FOR = timedelta(seconds=120)


def ledger_of(home: Home) -> Ledger:
    return Ledger(home.ledger, keys.load(home.release_key))


def contributors(federation: Federation, campaign: str) -> list[set[str]]:
    """Whose releases counted, by round."""
    return [
        {verdict["hospital"] for verdict in found["verdicts"] if verdict["fault"] is None}
        for found in federation.status(campaign)["rounds"]
    ]


def test_a_certificate_that_expires_in_mid_round_costs_the_run_alone(running: Running) -> None:
    """Catches a run that ends with words that help nobody, a SuperLink that starts with a dead certificate, a renewal that
    hospitals have to do something about, and a round that is lost or paid for twice.
    """
    federation, north = running.federation, running.federation.hospitals["north"]
    consortium = federation.consortium
    running.processes.stop(running.superlink)
    expires = datetime.now(UTC) + GOOD_FOR
    renew_server(consortium.folder, consortium.host, expires - timedelta(days=SERVER_DAYS))
    running.restart_superlink()
    running.restart_couriers()
    campaign = federation.campaign("expiring", sft_rounds=2)
    done: list[subprocess.CompletedProcess[str]] = []
    runner = threading.Thread(target=lambda: done.append(federation.run(campaign)))
    runner.start()
    until(lambda: ledger_of(north).summary().reserved == 1, "north trained")
    agent = running.agents["north"].process.pid
    os.killpg(agent, signal.SIGSTOP)
    assert datetime.now(UTC) < expires, "this machine is too slow for the certificate of this test"
    until(lambda: datetime.now(UTC) > expires, "the certificate expired")
    renew = f"`fedpath-consortium renew {consortium.folder}`"
    assert renew in federation.command("reach", str(consortium.folder)).stderr
    os.killpg(agent, signal.SIGCONT)
    runner.join()
    (ended,) = done
    assert ended.returncode == 1
    assert "warning: the server certificate expires in 0 days" in ended.stderr
    assert f"{renew}, then start it anew" in str(federation.status("expiring")["failure"])

    running.superlink.kill()
    with pytest.raises(ProcessError, match="ended with status 1"):
        running.restart_superlink()
    assert federation.command("renew", str(consortium.folder)).returncode == 0
    running.restart_superlink()
    again = federation.run(campaign)
    assert again.returncode == 0, again.stdout + again.stderr
    assert contributors(federation, "expiring") == [{"north", "south"}] * 3
    for home in (north, federation.hospitals["south"]):
        assert _spent(home, "expiring") == {1: 1, 2: 1, 3: 1}


def test_two_couriers_with_one_key_are_one_hospital(running: Running) -> None:
    """Catches a hospital that counts twice, a round that is asked for and paid for twice, and a twin that keeps its brother out
    for good.
    """
    federation, north = running.federation, running.federation.hospitals["north"]
    twin = running.processes.start("north-twin", ["client.cli", "courier", str(north.folder)])
    until(lambda: "supernode-ended" in twin.tail(), "the SuperLink turned the twin away")
    done = federation.run(federation.campaign("twins"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert contributors(federation, "twins") == [{"north", "south"}] * 2
    assert _spent(north, "twins") == {1: 1, 2: 1}

    running.processes.stop(running.couriers["north"])
    running.couriers["north"] = (
        twin  # tried again every few seconds, it is taken once the other's heartbeat has lapsed
    )
    done = federation.run(federation.campaign("heir"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert contributors(federation, "heir") == [{"north", "south"}] * 2
    assert _spent(north, "heir") == {1: 1, 2: 1}

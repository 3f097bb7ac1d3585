"""Pause, resume and stop over real processes: Flower's run ends, the campaign goes on, and nobody pays twice."""

from __future__ import annotations

import threading

import pytest

from tests.e2e.conftest import Running, until
from tests.e2e.test_e2e_resume import _spent

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("two hospitals")]


def test_a_campaign_is_paused_stopped_and_run_again(running: Running) -> None:
    """Catches a pause that Flower's process does not see, a stop that leaves it at work, and a second payment for a round."""
    federation = running.federation
    campaign, home = federation.campaign("steered", sft_rounds=2), str(federation.consortium.folder)
    done: list[int] = []

    def steer(command: str) -> None:
        said = federation.command(command, home, "steered")
        assert said.returncode == 0, said.stdout + said.stderr

    runner = threading.Thread(target=lambda: done.append(federation.run(campaign).returncode))
    runner.start()
    until(lambda: federation.consortium.store().run_state("steered") is not None, "the campaign began")
    steer("pause")
    until(lambda: federation.status("steered")["state"] == "paused", "the round under way ended")
    assert federation.status("steered")["rounds_committed"] <= 1
    steer("stop")
    runner.join()
    until(lambda: not federation.status("steered")["alive"], "Flower's process ended")
    assert federation.status("steered")["state"] == "stopped"
    again = federation.run(campaign)
    assert again.returncode == 0, again.stdout + again.stderr
    assert federation.status("steered")["state"] == "done"
    for hospital in federation.hospitals.values():
        if hospital.policy.public_data is False:
            assert _spent(hospital, "steered") == {1: 1, 2: 1, 3: 1}

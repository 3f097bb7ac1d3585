"""A what-if run: `flwr run` in Flower's simulation engine, with the agents inside it; as docs/campaign.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from privacy import keys
from privacy.ledger.store import Ledger
from tests.documented import claim
from tests.e2e.federation import build

pytestmark = [pytest.mark.nightly, pytest.mark.e2e]
COMMANDS = claim("docs/campaign.md", "fedpath-consortium")


def test_a_campaign_runs_in_the_simulation_engine(tmp_path: Path) -> None:
    """Catches a simulation that trains nothing, one that pays no ledger, and hospitals taken for one another."""
    federation = build(tmp_path, evaluator=True, without={"south": "detection"})
    homes = federation.hospitals
    folders = [str(home.folder) for home in reversed(homes.values())]
    campaign = federation.campaign("what-if", evaluate="stages")
    words = {
        "HOME": [str(federation.consortium.folder)],
        "CAMPAIGN.toml": [str(campaign)],
        "HOSPITAL_HOME...": folders,
    }
    for command in COMMANDS:
        done = federation.command(*(one for word in command.arguments for one in words.get(word, [word])))
        assert done.returncode == 0, done.stdout + done.stderr
    said = federation.status("what-if")
    assert (said["state"], said["rounds_committed"]) == ("done", 2)
    for name in ("north", "south"):
        ledger = Ledger(homes[name].ledger, keys.load(homes[name].release_key))
        left = {record.name for _, record in ledger.egress()}
        assert len(ledger.summary().events) == 2
        assert ("release/task/detection" in left) == (name == "north")

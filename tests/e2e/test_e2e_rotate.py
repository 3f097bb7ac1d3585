"""The coordinator's key is rotated under a real federation: nobody is told but by the courier."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from demo.processes import status_of
from privacy import keys
from privacy.ledger.store import Ledger
from server.provision.rotate import rotate
from tests.e2e.conftest import Running

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("two hospitals")]


def test_running_hospitals_follow_the_new_key(running: Running) -> None:
    """Catches a word that the courier does not carry, and an agent that has to be started anew."""
    federation = running.federation
    new = rotate(federation.consortium, datetime.now(UTC))
    done = federation.run(federation.campaign("rotated", sft_rounds=1))
    assert done.returncode == 0, done.stdout + done.stderr
    for home in federation.hospitals.values():
        if home.policy.public_data:
            continue
        assert home.coordinator == new
        entries = Ledger(home.ledger, keys.load(home.release_key)).entries()
        followed = [entry.body["new"] for entry in entries if entry.kind == "succession"]
        assert followed[-1] == new.raw.hex()
        assert status_of(home) is not None

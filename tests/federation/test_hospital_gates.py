"""Hospitals that take no part for now: outside of their hours, or because nobody there approved the campaign."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.errors import RoundFailed
from tests.federation.test_rounds import CAMPAIGN, SFT, World, world

TWO = replace(CAMPAIGN, stages=(replace(SFT, rounds=2),))
CLOSED = {  # two hours of a day that is days away
    "hours": (f"{datetime.now(UTC) + timedelta(days=3):%a} 10:00-12:00".lower(),),
    "time_zone": "UTC",
}


def trained(here: World, name: str) -> int:
    return here.hospitals[name].asked.count("train")


@pytest.mark.parametrize(
    ("policy", "code"), [(CLOSED, "outside-hours"), ({"approval": "manual"}, "awaiting-approval")]
)
def test_it_costs_its_own_part_of_each_round_only(
    tmp_path: Path, policy: dict[str, object], code: str
) -> None:
    """Catches a round that waits, fails, or asks again and again for who said no for now; and one who is never asked again."""
    here = world(tmp_path, "north", "south", "west", west=policy)
    here.run(TWO)
    for number in (1, 2):
        assert here.faults_of(number, "west") == {code}
        assert here.faults_of(number, "north") == {None}
    assert trained(here, "west") == trained(here, "north") == 2
    assert here.hospitals["west"].ledger.summary().events == ()


def test_a_campaign_that_needs_it_stops_with_its_word_and_goes_on_once_it_is_approved(tmp_path: Path) -> None:
    """Catches a coordinator that is not told what is missing, and a campaign that can't be taken up again."""
    here = world(tmp_path, "north", "south", south={"approval": "manual"})
    with pytest.raises(RoundFailed, match="south: awaiting-approval"):
        here.run(TWO)
    assert trained(here, "south") == 1
    here.hospitals["south"].ledger.approve("spring", True)
    here.run(TWO)
    assert here.faults_of(2, "south") == {None}
    assert len(here.hospitals["north"].ledger.summary().events) == 2, (
        "the round that failed is not paid again"
    )

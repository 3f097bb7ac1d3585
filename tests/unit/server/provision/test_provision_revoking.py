"""A revoked hospital is out until it is invited again, and comes back under new keys; a renewal writes every kit anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from privacy.enrolment import node_key
from server.errors import EnrolmentError
from server.home import Home
from server.provision.approve import Approved, approve
from server.provision.renew import Renewal, renew
from tests.provision_cases import NOW, Hospital, invited, kit_of


def test_a_revoked_hospital_is_out_and_the_journal_says_so(home: Home, enrolled: Hospital) -> None:
    """Catches a revocation that nobody can see, or that leaves a key which still counts."""
    enrolled.rotate()
    approve(home, enrolled.request(), NOW)
    opened = (NOW - timedelta(days=1)).isoformat(timespec="milliseconds")
    home.store().revoke("north", "its key was stolen")
    store = home.store()
    assert store.hospitals() == {}
    assert store.release_keys(opened) == {}
    assert store.revoked()["north"].reason == "its key was stolen"
    last = store.journal()[-1]
    key = enrolled.keys[-1].public.raw.hex()
    assert (last.kind, last.body) == (
        "revocation",
        {"hospital": "north", "release_key": key, "reason": "its key was stolen"},
    )
    with pytest.raises(EnrolmentError, match=r"revoked at .* already"):
        store.revoke("north", "again")
    with pytest.raises(EnrolmentError, match="not enrolled: `fedpath-consortium status`"):
        store.revoke("south", "")


def _as_before(home: Home, north: Hospital) -> Approved:
    return approve(home, north.request(ticket=None), NOW)


def _rotated(home: Home, north: Hospital) -> Approved:
    north.rotate()
    return approve(home, north.request(ticket=None), NOW)


def _with_old_keys(home: Home, north: Hospital) -> Approved:
    return approve(home, north.request(ticket=invited(home).ticket), NOW)


def _with_the_old_node(home: Home, north: Hospital) -> Approved:
    north.rotate()
    return approve(home, north.request(ticket=invited(home).ticket), NOW)


def _under_a_former_key(home: Home, north: Hospital) -> Approved:
    node_key.generate(north.node)
    return approve(home, north.request(release=north.keys[0], ticket=invited(home).ticket), NOW)


@pytest.mark.parametrize(
    ("come_back", "says"),
    [
        (_as_before, "only a new invitation"),
        (_rotated, "only a new invitation"),
        (_with_old_keys, "was north's and was revoked"),
        (_with_the_old_node, "supernode_key was north's, who was revoked"),
        (_under_a_former_key, "has been replaced"),
    ],
)
def test_a_revoked_hospital_comes_back_by_invitation_under_new_keys_only(
    home: Home, enrolled: Hospital, come_back: Callable[[Home, Hospital], Approved], says: str
) -> None:
    """Catches a thief of the old keys who hands in a request, with or without the hospital's own new invitation."""
    enrolled.rotate()
    approve(home, enrolled.request(), NOW)
    home.store().revoke("north", "")
    with pytest.raises(EnrolmentError, match=says):
        come_back(home, enrolled)
    assert home.store().hospitals() == {}


def test_a_hospital_that_came_back_counts_under_its_new_keys_alone(home: Home, enrolled: Hospital) -> None:
    """Catches a stolen key that counts again once the hospital is back; and a store that loses what went before."""
    opened = (NOW - timedelta(days=1)).isoformat(timespec="milliseconds")
    enrolled.rotate()
    approve(home, enrolled.request(), NOW)
    home.store().revoke("north", "")
    enrolled.invitation = invited(home)
    enrolled.rotate()
    node_key.generate(enrolled.node)
    assert approve(home, enrolled.request(), NOW).what == "enrolled"
    store = home.store()
    assert store.release_keys(opened) == {"north": (enrolled.keys[-1].public,)}
    assert store.revoked() == {}
    assert len(store.revoked_nodes()) == 1
    assert [entry.kind for entry in store.journal()] == ["enrolment", "handover", "revocation", "enrolment"]
    store.revoke("north", "once more")
    assert len(home.store().revoked_nodes()) == 2


def test_a_renewal_writes_every_kit_anew(home: Home, enrolled: Hospital, tmp_path: Path) -> None:
    """Catches a kit that ends because nobody asked for another."""
    south = Hospital(tmp_path / "south", invited(home, "south"), "south")
    approve(home, south.request(), NOW)
    later = NOW + timedelta(days=300)
    assert len(renew(home, Renewal.SERVER, later)) == 2
    for hospital in (enrolled, south):
        kit_of(home, hospital.name).check_for(
            hospital.name, hospital.keys[0].public, later + timedelta(days=364)
        )

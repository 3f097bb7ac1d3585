"""A hospital's rotated key is taken in under the old one's proof, and under nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from privacy import keys
from privacy.enrolment import node_key
from privacy.enrolment.request import Request
from privacy.handover import Handover
from server.errors import EnrolmentError
from server.home import Home
from server.provision.approve import approve
from tests.provision_cases import NOW, Hospital, invited, kit_of


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_rotated_key_is_taken_in_under_the_old_ones_proof(
    home: Home, enrolled: Hospital, times: int
) -> None:
    """Catches a hospital that is locked out by its own rotation, also where it rotated more often than it wrote; a
    kit for the old key; a journal that is silent; and a former key that is forgotten for rounds under way.
    """
    before = home.store().hospitals()["north"]
    opened = NOW.isoformat(timespec="milliseconds")
    for _ in range(times):
        enrolled.rotate()
    done = approve(home, enrolled.request(ticket=None), NOW + timedelta(seconds=9))
    assert done.what == "key replaced"
    now = home.store().hospitals()["north"]
    assert now == replace(before, release_key=enrolled.keys[-1].public)
    kit_of(home).check_for("north", enrolled.keys[-1].public, NOW + timedelta(days=1))
    entries = [entry.body for entry in home.store().journal() if entry.kind == "handover"]
    assert entries == [{"hospital": "north", **handover.to_dict()} for handover in enrolled.handovers]
    assert home.store().release_keys(opened)["north"] == tuple(
        key.public for key in (enrolled.keys[-1], *enrolled.keys[:-1])
    )
    assert home.store().release_keys("9999")["north"] == (enrolled.keys[-1].public,)


def test_a_later_rotation_is_taken_in_after_an_earlier_one(home: Home, enrolled: Hospital) -> None:
    """Catches a coordinator that follows handovers from the first key only."""
    for _ in range(2):
        enrolled.rotate()
        approve(home, enrolled.request(ticket=None), NOW)
    assert home.store().hospitals()["north"].release_key == enrolled.keys[-1].public
    assert sum(entry.kind == "handover" for entry in home.store().journal()) == 2


def _no_proof(north: Hospital) -> Request:
    north.rotate()
    return north.request(handovers=[])


def _anothers_proof(north: Hospital) -> Request:
    north.rotate()
    stranger = keys.generate(north.folder / "stranger.key")
    return north.request(handovers=[Handover.make("north", stranger, north.keys[-1].public)])


def _forged_proof(north: Hospital) -> Request:
    north.rotate()
    stranger = keys.generate(north.folder / "stranger.key")
    made = Handover.make("north", stranger, north.keys[-1].public)
    return north.request(handovers=[replace(made, old=north.keys[0].public)])


def _in_anothers_name(north: Hospital) -> Request:
    north.rotate()
    return north.request(handovers=[Handover.make("south", north.keys[0], north.keys[-1].public)])


def _not_to_the_end(north: Hospital) -> Request:
    north.rotate()
    north.rotate()
    return north.request(handovers=north.handovers[:1])


def _another_node(north: Hospital) -> Request:
    north.rotate()
    node_key.generate(north.node)
    return north.request()


def _another_node_alone(north: Hospital) -> Request:
    node_key.generate(north.node)
    return north.request()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_no_proof, "does not show how"),
        (_anothers_proof, "does not show how"),
        (_forged_proof, "not proven by the one on file"),
        (_in_anothers_name, "not proven by the one on file"),
        (_not_to_the_end, "does not show how"),
        (_another_node, "another supernode_key"),
        (_another_node_alone, "another supernode_key"),
    ],
)
def test_a_key_that_the_one_on_file_did_not_sign_for_is_refused(
    home: Home, enrolled: Hospital, spoil: Callable[[Hospital], Request], says: str
) -> None:
    """Catches a stranger who sends a request in a hospital's name."""
    request = spoil(enrolled)
    with pytest.raises(EnrolmentError, match=says):
        approve(home, request, NOW)
    assert home.store().hospitals()["north"].release_key == enrolled.keys[0].public
    assert not any(entry.kind == "handover" for entry in home.store().journal())


def test_a_replaced_key_is_never_enrolled_again(home: Home, enrolled: Hospital, tmp_path: Path) -> None:
    """Catches another hospital, or the same one, that signs with a key which was given up."""
    enrolled.rotate()
    approve(home, enrolled.request(), NOW)
    south = Hospital(tmp_path / "south", invited(home, "south"), "south")
    with pytest.raises(EnrolmentError, match="was north's and has been replaced"):
        approve(home, south.request(release=enrolled.keys[0]), NOW)
    assert list(home.store().hospitals()) == ["north"]
    approve(home, south.request(), NOW)  # what was refused did not use the invitation up
    enrolled.handovers.append(Handover.make("north", enrolled.keys[1], enrolled.keys[0].public))
    enrolled.keys.append(enrolled.keys[0])
    with pytest.raises(EnrolmentError, match="has been replaced"):
        approve(home, enrolled.request(), NOW)

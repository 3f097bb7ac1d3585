"""Invitations, requests and kits: what is written is read back, and whatever anyone else writes is refused by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from privacy import canonical, keys
from privacy.enrolment import node_key
from privacy.enrolment.expiry import Expiry, Level
from privacy.enrolment.fields import address
from privacy.enrolment.invitation import Invitation
from privacy.enrolment.kit import Kit
from privacy.enrolment.request import Request
from privacy.errors import EnrolmentFileError
from privacy.handover import Handover
from privacy.keys import PrivateKey
from tests.property.privacy.test_privacy_wire_properties import json_values, spoil, spoiled

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,63}", fullmatch=True)
seeds = st.binary(min_size=32, max_size=32)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2900, 1, 1)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
hosts = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
addresses = st.builds(lambda host, port: f"{host}:{port}", hosts, st.integers(1, 65535))
NODE = ec.generate_private_key(ec.SECP384R1())


@cache
def key_of(name: str) -> PrivateKey:
    with TemporaryDirectory() as folder:
        return keys.generate(Path(folder) / name)


invitations = st.builds(
    Invitation, names, names, addresses, st.just(key_of("coordinator").public), seeds, moments
)
kits = st.builds(
    Kit,
    names,
    names,
    st.just(key_of("release").public),
    addresses,
    st.lists(texts, min_size=1, max_size=4).map(tuple),
    texts,
    st.none() | texts,
    moments,
    moments,
)


@given(invitations)
def test_an_invitation_is_read_back(made: Invitation) -> None:
    """Catches a field that changes on the way; a hospital would trust another key, or answer with another secret."""
    again = Invitation.from_bytes(made.to_bytes())
    assert again == made
    assert again.ticket.public == made.ticket.public


@given(kits)
def test_a_kit_is_read_back_under_its_signer_alone(made: Kit) -> None:
    """Catches a field that is not in what is signed, or that changes on the way."""
    data = made.seal(key_of("coordinator"))
    assert Kit.open(data, key_of("coordinator").public) == made
    with pytest.raises(EnrolmentFileError, match="tampered with"):
        Kit.open(data, key_of("stranger").public)


@given(names, st.integers(0, 3), st.booleans())
def test_a_request_is_read_back(name: str, rotations: int, invited: bool) -> None:
    """Catches a proof that does not fit what was signed, for some name or chain of keys."""
    chain = [Handover.make(name, key_of(f"r{n}"), key_of(f"r{n + 1}").public) for n in range(rotations)]
    release, coordinator = key_of(f"r{rotations}"), key_of("coordinator").public
    data = Request.make(coordinator, name, release, NODE, chain, key_of("ticket") if invited else None)
    again = Request.from_bytes(data)
    assert (again.hospital, again.coordinator, again.release_key) == (name, coordinator, release.public)
    assert (again.handovers, again.supernode_key) == (tuple(chain), node_key.public_pem(NODE))
    assert again.ticket == (key_of("ticket").public if invited else None)


@cache
def _files() -> dict[str, bytes]:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    coordinator, release = key_of("coordinator"), key_of("release")
    kit = Kit("rhine", "north", release.public, "a:1", ("x",), "p", None, at, at)
    return {
        "kit": kit.seal(coordinator),
        "request": Request.make(coordinator.public, "north", release, NODE, [], key_of("ticket")),
    }


@given(st.sampled_from(["kit", "request"]), spoil)
def test_no_changed_byte_is_taken(which: str, change: tuple[int, int, int]) -> None:
    """Catches a byte that no signature covers, and an error other than ours."""
    data = _files()[which]
    bad = spoiled(data, *change)
    if bad.removesuffix(b"\n") == data.removesuffix(b"\n"):
        return
    with pytest.raises(EnrolmentFileError):
        _open(which, bad)


@given(
    st.sampled_from(["kit", "request", "invitation"]),
    st.binary(max_size=200) | json_values.map(canonical.encode),
)
def test_any_bytes_are_refused_by_name(which: str, data: bytes) -> None:
    """Catches a crash on what anybody may mail."""
    with pytest.raises(EnrolmentFileError):
        _open(which, data)


@given(
    st.sampled_from(["kit", "request"]),
    st.dictionaries(st.sampled_from(["format", "kit", "request", "signature", "proofs"]), json_values),
)
def test_any_values_in_the_right_places_are_refused_by_name(which: str, values: dict[str, object]) -> None:
    """Catches a form that is looked into before it is checked."""
    base = canonical.decode(_files()[which].removesuffix(b"\n"), 1 << 20)
    bad = canonical.encode({**base, **values})
    if bad == canonical.encode(base):
        return
    with pytest.raises(EnrolmentFileError):
        _open(which, bad)


def _open(which: str, data: bytes) -> object:
    if which == "kit":
        return Kit.open(data, key_of("coordinator").public)
    return (Request if which == "request" else Invitation).from_bytes(data)


@given(st.text(max_size=60))
def test_an_address_is_never_an_option_nor_two_words(text: str) -> None:
    """Catches an address that Flower's command would take for something else."""
    if address(text):
        assert not text.startswith("-")
        assert text.isascii()
        assert len(text.split()) == 1
        assert 0 < int(text.rpartition(":")[2]) < 65536


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("a:1", True),
        ("superlink.example.org:9092", True),
        ("10.1.2.3:65535", True),
        ("[::1]:9092", True),
        ("a", False),
        ("a:", False),
        ("a:0", False),
        ("a:65536", False),
        ("a:09", False),
        ("::1:9092", False),
        ("--insecure:1", False),
        ("a b:1", False),
        ("a:1\n", False),
        ("https://a:1", False),
        (5, False),
    ],
)
def test_addresses_of_the_table(text: object, taken: bool) -> None:
    """Catches an address that is refused, and one that is none."""
    assert address(text) is taken


@pytest.mark.parametrize(
    ("days", "level"),
    [
        (365.0, Level.FINE),
        (30.0, Level.FINE),
        (29.99, Level.WARNING),
        (3.0, Level.WARNING),
        (2.99, Level.PROBLEM),
        (0.0, Level.PROBLEM),
        (-1.0, Level.PROBLEM),
    ],
)
def test_what_ends_is_told_weeks_ahead(days: float, level: Level) -> None:
    """Catches a warning that comes a day late, or a day after the end."""
    now = datetime(2030, 1, 1, tzinfo=UTC)
    found = Expiry.of("kit", now + timedelta(days=days), now)
    assert found.level is level
    assert ("expired on" in str(found)) == (days < 0)

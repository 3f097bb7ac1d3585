"""Requests to be enrolled: one that answers an open invitation enrols, and whatever else is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy import canonical, keys
from privacy.enrolment import node_key
from privacy.enrolment.request import Request
from privacy.errors import EnrolmentFileError
from privacy.handover import Handover
from privacy.keys import Purpose
from privacy.policy import Policy
from server.errors import EnrolmentError, HomeError
from server.home import Home
from server.provision.approve import approve
from tests.provision_cases import NOW, Hospital, invited, kit_of


def test_a_kit_holds_what_a_hospital_needs_and_no_secret(home: Home, north: Hospital) -> None:
    """The kit travels by mail: nothing private may be in it; and it must be good for its hospital, now."""
    done = approve(home, north.request(), NOW)
    assert (done.what, done.kit) == ("enrolled", home.folder / "kits" / "north.json")
    data = done.kit.read_bytes()
    assert b"PRIVATE" not in data
    assert north.invitation is not None
    assert north.invitation.seed.hex().encode() not in data
    kit = kit_of(home)
    kit.check_for("north", north.keys[0].public, NOW + timedelta(days=364))
    assert (kit.consortium, kit.superlink) == ("rhine", "127.0.0.1:19092")
    assert kit.roots == ((home.folder / "ca.crt").read_text(),)
    assert not (home.folder / "invitations" / "north.json").exists()
    (entry,) = home.store().journal()
    assert (entry.kind, entry.body["ticket"]) == ("enrolment", north.invitation.ticket.public.raw.hex())


def test_the_node_key_comes_back_as_flower_wants_it(north: Hospital) -> None:
    """Stored as Flower reports it, registered as Flower reads it: else no node is ever recognised."""
    request = north.request()
    assert request.supernode_key.startswith(b"-----BEGIN PUBLIC KEY-----")
    openssh = node_key.to_openssh(request.supernode_key)
    key = serialization.load_ssh_public_key(openssh)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.public_numbers() == node_key.load(north.node).public_key().public_numbers()


def test_approving_again_renews_the_kit(home: Home, enrolled: Hospital) -> None:
    """Catches a lost kit that can't be had again, and an enrolment that is recorded twice."""
    before = kit_of(home)
    again = approve(home, enrolled.request(), NOW + timedelta(days=9))
    assert again.what == "kit renewed"
    assert kit_of(home).issued - before.issued == timedelta(days=9)
    assert len(home.store().journal()) == 1


def test_the_evaluator_is_who_was_invited_as_one(home: Home, tmp_path: Path) -> None:
    """Catches a hospital that makes itself the evaluator, and a proposal that would have the evaluator train."""
    judge = Hospital(tmp_path / "judge", invited(home, "judge", evaluator=True), "judge")
    assert approve(home, judge.request(), NOW).hospital.evaluator
    assert "public_data = true" in kit_of(home, "judge").policy


def test_the_kit_proposes_the_consortiums_own_policy_under_the_hospitals_name(
    home: Home, north: Hospital
) -> None:
    """Catches a proposal that no agent takes, found out at the hospital."""
    (home.folder / "policy.toml").write_text(
        kit_policy := """\
hospital = "any"
epsilon_budget = 3.0
delta = 1e-6
nominal_patients = 100
minimum_noise_multiplier = 1.0
maximum_sampling_rate = 0.1
maximum_steps = 10
maximum_samples_per_patient = 2
tasks = ["vqa"]
scales = ["roi"]
campaigns = ["*"]
"""
    )
    approve(home, north.request(), NOW)
    (proposed := home.folder / "proposed.toml").write_text(kit_of(home).policy)
    assert (Policy.load(proposed).hospital, Policy.load(proposed).epsilon_budget) == ("north", 3.0)
    (home.folder / "policy.toml").write_text(kit_policy.replace("3.0", "-3.0"))
    with pytest.raises(HomeError, match=r"policy\.toml.*epsilon_budget"):
        approve(home, north.request(), NOW)


@dataclass(frozen=True)
class Refused:
    """A request that must not be approved, and what the error names."""

    name: str
    ask: Callable[[Home, Hospital], Request]
    says: str
    at: datetime = NOW


def _another_consortiums(home: Home, north: Hospital) -> Request:
    return north.request(coordinator=keys.generate(north.folder / "c.key").public)


def _souths_ticket(home: Home, north: Hospital) -> Request:
    return north.request(ticket=invited(home, "south").ticket)


def _void(home: Home, north: Hospital) -> Request:
    invited(home)
    return north.request()


def _used(home: Home, north: Hospital) -> Request:
    approve(home, north.request(), NOW)
    home.store().revoke("north", "")
    other = Hospital(north.folder / "other", north.invitation)
    return other.request()


REFUSED = (
    Refused("another consortium's", _another_consortiums, "answered another consortium's"),
    Refused("without a ticket", lambda home, north: north.request(ticket=None), "answers no invitation"),
    Refused(
        "with a ticket of its own making",
        lambda home, north: north.request(ticket=north.keys[0]),
        "no invitation has the ticket",
    ),
    Refused("with another hospital's ticket", _souths_ticket, "invitation that it answers is 'south'"),
    Refused("with a ticket that a later one made void", _void, "a later one made it void"),
    Refused("with a used ticket", _used, "one invitation enrols once"),
    Refused(
        "after the invitation expired",
        lambda home, north: north.request(),
        "expired at",
        NOW + timedelta(days=14),
    ),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_request_that_answers_no_open_invitation_is_refused(
    home: Home, north: Hospital, case: Refused
) -> None:
    """Catches a stranger who is enrolled, and a hospital that is enrolled under another's name."""
    request = case.ask(home, north)
    before = len(home.store().journal())
    with pytest.raises(EnrolmentError, match=case.says):
        approve(home, request, case.at)
    assert home.store().hospitals() == {}
    assert len(home.store().journal()) == before


def _changed(part: str, **changes: Any) -> Callable[[Hospital], bytes]:
    """A request in which something was changed after it was signed."""

    def spoil(north: Hospital) -> bytes:
        values = json.loads(north.file())
        values[part].update(changes)
        return canonical.encode(values)

    return spoil


def _pem(curve: ec.EllipticCurve) -> str:
    key = ec.generate_private_key(curve).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def _holding_all_but(north: Hospital, one: str, public: str) -> bytes:
    """A request that names somebody else's public key, and proves every other."""
    values = json.loads(north.file())
    values["request"][one] = public
    signed = canonical.encode(values["request"])
    assert north.invitation is not None
    proofs = {
        "release_key": north.keys[0].sign(signed, Purpose.REQUEST),
        "supernode_key": node_key.sign(node_key.load(north.node), signed),
        "ticket": north.invitation.ticket.sign(signed, Purpose.REQUEST),
    }
    values["proofs"] = {name: proof.hex() for name, proof in proofs.items()}
    return canonical.encode(values)


def _strangers_key(north: Hospital) -> bytes:
    return _holding_all_but(north, "release_key", keys.generate(north.folder / "x.key").public.raw.hex())


def _strangers_ticket(north: Hospital) -> bytes:
    return _holding_all_but(north, "ticket", keys.generate(north.folder / "x.key").public.raw.hex())


def _strangers_node(north: Hospital) -> bytes:
    return _holding_all_but(north, "supernode_key", _pem(ec.SECP384R1()))


def _long_chain(north: Hospital) -> bytes:
    for _ in range(300):
        north.handovers.append(Handover.make("north", north.keys[0], north.keys[0].public))
    return north.file()


_HANDOVER = {"old": "0" * 64, "new": "0" * 64, "proof": "zz"}
BAD: list[tuple[str, Callable[[Hospital], bytes], str]] = [
    ("another's release key", _strangers_key, "does not hold its keys"),
    ("another's node key", _strangers_node, "hold its supernode_key"),
    ("another's ticket", _strangers_ticket, "does not hold its keys"),
    ("another node key", _changed("request", supernode_key=_pem(ec.SECP384R1())), "was changed"),
    ("another name", _changed("request", hospital="south"), "south's request was changed"),
    ("another ticket", _changed("request", ticket="0" * 64), "."),
    ("no ticket, and its proof", _changed("request", ticket=None), "."),
    ("a ticket, and no proof", _changed("proofs", ticket=None), "was changed"),
    ("a proof of nothing", _changed("proofs", release_key=""), "was changed"),
    ("a node's proof of nothing", _changed("proofs", supernode_key="00"), "supernode_key"),
    ("an overlong proof", _changed("proofs", supernode_key="00" * 200), "at proofs"),
    ("an unknown field", _changed("request", admin=True), "at request"),
    ("a name of another form", _changed("request", hospital="../north"), "at request"),
    ("a key that is no text", _changed("request", release_key=3), "at request"),
    ("a key of small order", _changed("request", release_key="0" * 64), "small order"),
    ("handovers that are no list", _changed("request", handovers={}), "at request"),
    ("a handover of another form", _changed("request", handovers=[_HANDOVER]), "at request"),
    ("a node key that is none", _changed("request", supernode_key="abc"), "not a public key in PEM"),
    ("a node key on another curve", _changed("request", supernode_key=_pem(ec.SECP256R1())), "P-384"),
    ("a node key with a comment", _changed("request", supernode_key="x\n" + _pem(ec.SECP384R1())), "spelled"),
    ("too many handovers", _long_chain, "so it is no request"),
    ("white space", lambda north: json.dumps(json.loads(north.file()), indent=1).encode(), "not canonical"),
    ("a key twice", lambda north: north.file().replace(b'{"format"', b'{"format":1,"format"'), "canonical"),
    ("no JSON", lambda north: b"{", "not JSON"),
    ("nothing", lambda north: b"", "not JSON"),
    ("a list", lambda north: b"[]", "no table"),
    ("NaN", lambda north: b"NaN", "JSON"),
    ("deep lists", lambda north: b"[" * 5000 + b"]" * 5000, "JSON"),
    ("an invitation", lambda north: north.invitation.to_bytes() if north.invitation else b"", "at "),
]


@pytest.mark.parametrize(("spoil", "says"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_spoilt_request_is_refused(
    north: Hospital, spoil: Callable[[Hospital], bytes], says: str, tmp_path: Path
) -> None:
    """A request comes by mail: hostile input. Its keys must be held by who sent it."""
    (tmp_path / "request.json").write_bytes(spoil(north))
    with pytest.raises(EnrolmentFileError, match=says):
        Request.load(tmp_path / "request.json")

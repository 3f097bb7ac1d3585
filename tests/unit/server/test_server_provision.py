"""The home and its provisioning: keys that others can't read, invitations that enrol once, requests that are checked."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy import canonical, keys
from privacy.enrolment import node_key
from privacy.enrolment.invitation import Invitation
from privacy.enrolment.kit import Kit
from privacy.enrolment.request import Request
from privacy.errors import EnrolmentFileError, KeyFileError
from privacy.handover import Handover
from privacy.keys import PrivateKey, Purpose
from privacy.policy import Policy
from server.errors import EnrolmentError, HomeError
from server.home import Home
from server.provision.approve import Approved, approve
from server.provision.authority import renew_server
from server.provision.invite import invite
from server.provision.renew import Renewal, renew

NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", "rhine", "127.0.0.1", 19092)


def invited(home: Home, name: str = "north", at: datetime = NOW, **changes: Any) -> Invitation:
    """The invitation, as the hospital reads it."""
    path, _ = invite(home, name, at, **{"evaluator": False, "days": 14, **changes})
    return Invitation.load(path)


@dataclass
class Hospital:
    """A hospital's keys, and the requests that it sends."""

    folder: Path
    invitation: Invitation | None
    name: str = "north"
    keys: list[PrivateKey] = field(default_factory=list)
    handovers: list[Handover] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.keys.append(keys.generate(self.folder / "release.key"))
        node_key.generate(self.node)

    @property
    def node(self) -> Path:
        return self.folder / "supernode.key"

    def rotate(self) -> None:
        new = keys.generate(self.folder / f"release-{len(self.keys)}.key")
        self.handovers.append(Handover.make(self.name, self.keys[-1], new.public))
        self.keys.append(new)

    def file(self, **changes: Any) -> bytes:
        """The request's bytes; `changes` are made before it is signed."""
        assert self.invitation is not None
        made = {
            "coordinator": self.invitation.coordinator,
            "hospital": self.name,
            "release": self.keys[-1],
            "node": node_key.load(self.node),
            "handovers": self.handovers,
            "ticket": self.invitation.ticket,
        }
        return Request.make(**{**made, **changes})

    def request(self, **changes: Any) -> Request:
        return Request.from_bytes(self.file(**changes))


@pytest.fixture
def north(home: Home, tmp_path: Path) -> Hospital:
    return Hospital(tmp_path / "north", invited(home))


@pytest.fixture
def enrolled(home: Home, north: Hospital) -> Hospital:
    approve(home, north.request(), NOW)
    return north


def kit_of(home: Home, name: str = "north") -> Kit:
    return Kit.load(home.folder / "kits" / f"{name}.json", home.coordinator().public)


# --- the home


def test_private_files_are_the_owners_alone(home: Home) -> None:
    """A key that others on the machine can read signs for anyone."""
    invited(home)
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    private = [*(home.folder / "keys").glob("*.key"), home.folder / "consortium.db"]
    private += (home.folder / "invitations").iterdir()
    assert len(private) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_a_home_is_never_made_over_another(home: Home) -> None:
    """A second init would orphan every hospital's kit."""
    with pytest.raises(HomeError, match="not empty"):
        Home.create(home.folder, "other", "127.0.0.1", 19092)
    assert Home.open(home.folder) == home


def test_a_folder_that_is_no_home_says_what_to_do(tmp_path: Path) -> None:
    """The first mistake of a new user."""
    with pytest.raises(HomeError, match="fedpath-consortium init"):
        Home.open(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("name", "Rhine"), ("host", "a b"), ("port", 0)])
def test_a_home_of_wrong_values_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    """What would not work is told before keys are made."""
    values = {"name": "rhine", "host": "127.0.0.1", "port": 9092, key: value}
    with pytest.raises(HomeError, match=key):
        Home.create(tmp_path / "home", **values)
    assert not (tmp_path / "home").exists()


def test_an_authority_whose_key_others_can_read_signs_nothing(home: Home) -> None:
    """Catches a certificate authority that goes on after its key lay open."""
    (home.folder / "keys" / "ca.key").chmod(0o644)
    with pytest.raises(KeyFileError, match=r"chmod 600 .*ca\.key"):
        renew_server(home.folder, home.host, NOW)


# --- inviting


def test_the_store_can_not_answer_an_invitation(home: Home) -> None:
    """Catches a secret in the database: a copy of it would let its finder in as any invited hospital."""
    made = invited(home)
    stored = (home.folder / "consortium.db").read_bytes()
    wal = home.folder / "consortium.db-wal"
    stored += wal.read_bytes() if wal.exists() else b""
    assert made.ticket.public.raw in stored
    assert made.seed not in stored
    assert made.seed.hex().encode() not in stored
    assert made.seed.hex() not in repr(made)
    assert repr(made.seed) not in repr(made)


@pytest.mark.parametrize("name", ["", "North", "-north", "../north", "n" * 65, "north\n"])
def test_a_name_that_is_none_is_not_invited(home: Home, name: str) -> None:
    """A name becomes a file's: it must not lead anywhere else."""
    with pytest.raises(EnrolmentError, match="names no hospital"):
        invited(home, name)


def test_an_enrolled_hospital_is_not_invited_again(home: Home, enrolled: Hospital) -> None:
    """Catches two hospitals of one name."""
    with pytest.raises(EnrolmentError, match="revoke` it first"):
        invited(home)


# --- approving


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


# --- a rotated key


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


# --- revoking


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


# --- renewing


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

"""The home and its provisioning: keys that others can't read, certificates that verify, requests that are checked."""

from __future__ import annotations

import ipaddress
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder
from cryptography.x509.verification import Store as Roots

from privacy import keys
from privacy.handover import Handover
from server.errors import EnrolmentError, HomeError
from server.home import Home
from server.provision.kit import Request, enroll, to_openssh


def _request(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    node = ec.generate_private_key(ec.SECP384R1()).public_key()
    values = {
        "hospital": "north",
        "release_key": keys.generate(folder / "release.key").public.to_pem().decode(),
        "supernode_key": _openssh(node),
    }
    (folder / "request.json").write_text(json.dumps({**values, **changes}))
    return folder / "request.json"


def _openssh(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", "rhine", "127.0.0.1", 19092)


def test_private_files_are_the_owners_alone(home: Home) -> None:
    """A key that others on the machine can read signs for anyone."""
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    private = [*(home.folder / "keys").glob("*.key"), home.folder / "consortium.db"]
    assert len(private) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


@pytest.mark.parametrize("host", ["127.0.0.1", "superlink.example.org", "10.1.2.3"])
def test_the_server_certificate_verifies_for_its_host_and_loopback(tmp_path: Path, host: str) -> None:
    """Hospitals connect by the host, the ServerApp by loopback: a name that lacks would break TLS in production."""
    home = Home.create(tmp_path / "home", "rhine", host, 19092)
    ca = x509.load_pem_x509_certificate((home.folder / "ca.crt").read_bytes())
    leaf = x509.load_pem_x509_certificate((home.folder / "server.crt").read_bytes())
    names: list[x509.DNSName | x509.IPAddress] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    try:
        names.append(x509.IPAddress(ipaddress.ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    for name in names:
        builder = PolicyBuilder().store(Roots([ca])).time(datetime.now(UTC))
        assert len(builder.build_server_verifier(name).verify(leaf, [])) == 2


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


def test_a_kit_holds_what_a_hospital_needs_and_no_secret(home: Home, tmp_path: Path) -> None:
    """The kit travels by mail: nothing private may be in it."""
    kit = enroll(home, "north", Request.load(_request(tmp_path / "north")), evaluator=False)
    assert {path.name for path in kit.iterdir()} == {"ca.crt", "coordinator.pub", "kit.json"}
    assert all(b"PRIVATE" not in path.read_bytes() for path in kit.iterdir())
    values = json.loads((kit / "kit.json").read_text())
    assert values == {"consortium": "rhine", "name": "north", "superlink": "127.0.0.1:19092"}
    assert keys.load_public(kit / "coordinator.pub") == home.coordinator().public


def test_the_node_key_comes_back_as_flower_wants_it(home: Home, tmp_path: Path) -> None:
    """Stored as Flower reports it, registered as Flower reads it: else no node is ever recognised."""
    path = _request(tmp_path / "north")
    request = Request.load(path)
    assert request.supernode_key.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert to_openssh(request.supernode_key).decode() == json.loads(path.read_text())["supernode_key"]


@dataclass(frozen=True)
class Bad:
    """A spoilt request, and what the error names."""

    name: str
    changes: Callable[[], dict[str, Any]]
    says: str


BAD = (
    Bad("unknown field", lambda: {"admin": True}, "not a request"),
    Bad("name of another form", lambda: {"hospital": "../north"}, "lower-case"),
    Bad("key is no text", lambda: {"release_key": 3}, "lower-case"),
    Bad("release key is no key", lambda: {"release_key": "abc"}, "not a public key"),
    Bad("handovers are no list", lambda: {"handovers": {}}, "no list"),
    Bad(
        "a handover of another form", lambda: {"handovers": [{"old": "", "new": ""}]}, "not a key's handover"
    ),
    Bad(
        "a handover without keys",
        lambda: {"handovers": [{"old": "x", "new": "y", "proof": "z"}]},
        "not a key's handover",
    ),
    Bad("node key is no key", lambda: {"supernode_key": "abc"}, "supernode_key"),
    Bad(
        "node key on another curve",
        lambda: {"supernode_key": _openssh(ec.generate_private_key(ec.SECP256R1()).public_key())},
        "P-384",
    ),
)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_spoilt_request_is_refused(bad: Bad, tmp_path: Path) -> None:
    """A request comes by mail: hostile input."""
    with pytest.raises(EnrolmentError, match=bad.says):
        Request.load(_request(tmp_path / "north", **bad.changes()))


def test_a_request_is_enrolled_under_its_own_name_only(home: Home, tmp_path: Path) -> None:
    """A mix-up of two requests would give one hospital's voice to another."""
    request = Request.load(_request(tmp_path / "north"))
    with pytest.raises(EnrolmentError, match="'north''s, not 'south'"):
        enroll(home, "south", request, evaluator=False)
    assert home.store().hospitals() == {}


@dataclass
class Rotating:
    """A hospital that takes up new keys, and the requests that it then sends."""

    folder: Path
    keys: list[keys.PrivateKey]
    handovers: list[dict[str, str]]

    @classmethod
    def enrolled(cls, home: Home, folder: Path) -> Rotating:
        enroll(home, "north", Request.load(_request(folder)), evaluator=False)
        return cls(folder, [keys.load(folder / "release.key")], [])

    def rotate(self) -> None:
        new = keys.generate(self.folder / f"release-{len(self.keys)}.key")
        self.handovers.append(Handover.make("north", self.keys[-1], new.public).to_dict())
        self.keys.append(new)

    def request(self, **changes: Any) -> Request:
        path = self.folder / "request.json"
        pem = self.keys[-1].public.to_pem().decode()
        values = {**json.loads(path.read_text()), "release_key": pem, "handovers": self.handovers, **changes}
        path.write_text(json.dumps(values))
        return Request.load(path)


@pytest.fixture
def rotating(home: Home, tmp_path: Path) -> Rotating:
    return Rotating.enrolled(home, tmp_path / "north")


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_rotated_key_is_taken_in_under_the_old_ones_proof(
    home: Home, rotating: Rotating, times: int
) -> None:
    """Catches a hospital that is locked out by its own rotation, also where it rotated more often than it wrote; a
    kit that is written anew; a journal that is silent; and a former key that is forgotten for rounds under way.
    """
    before = home.store().hospitals()["north"]
    kit = home.folder / "kits" / "north"
    written = {path.name: path.stat().st_mtime_ns for path in kit.iterdir()}
    opened = datetime.now(UTC).isoformat(timespec="milliseconds")
    for _ in range(times):
        rotating.rotate()
    assert enroll(home, "north", rotating.request(), evaluator=False) == kit
    now = home.store().hospitals()["north"]
    assert now == replace(before, release_key=rotating.keys[-1].public)
    assert {path.name: path.stat().st_mtime_ns for path in kit.iterdir()} == written
    entries = [entry.body for entry in home.store().journal() if entry.kind == "handover"]
    assert entries == [{"hospital": "north", **handover} for handover in rotating.handovers]
    assert home.store().release_keys(opened)["north"] == tuple(
        key.public for key in (rotating.keys[-1], *rotating.keys[:-1])
    )
    assert home.store().release_keys("9999")["north"] == (rotating.keys[-1].public,)


def test_a_later_rotation_is_taken_in_after_an_earlier_one(home: Home, rotating: Rotating) -> None:
    """Catches a coordinator that follows handovers from the first key only."""
    for _ in range(2):
        rotating.rotate()
        enroll(home, "north", rotating.request(), evaluator=False)
    assert home.store().hospitals()["north"].release_key == rotating.keys[-1].public
    assert sum(entry.kind == "handover" for entry in home.store().journal()) == 2


def _no_proof(rotating: Rotating) -> Request:
    rotating.rotate()
    return rotating.request(handovers=[])


def _anothers_proof(rotating: Rotating) -> Request:
    rotating.rotate()
    stranger = keys.generate(rotating.folder / "stranger.key")
    made = Handover.make("north", stranger, rotating.keys[-1].public).to_dict()
    return rotating.request(handovers=[made])


def _forged_proof(rotating: Rotating) -> Request:
    rotating.rotate()
    stranger = keys.generate(rotating.folder / "stranger.key")
    made = Handover.make("north", stranger, rotating.keys[-1].public).to_dict()
    return rotating.request(handovers=[{**made, "old": rotating.keys[0].public.raw.hex()}])


def _in_anothers_name(rotating: Rotating) -> Request:
    rotating.rotate()
    made = Handover.make("south", rotating.keys[0], rotating.keys[-1].public).to_dict()
    return rotating.request(handovers=[made])


def _not_to_the_end(rotating: Rotating) -> Request:
    rotating.rotate()
    rotating.rotate()
    return rotating.request(handovers=rotating.handovers[:1])


def _another_node(rotating: Rotating) -> Request:
    rotating.rotate()
    return rotating.request(supernode_key=_openssh(ec.generate_private_key(ec.SECP384R1()).public_key()))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_no_proof, "does not show how"),
        (_anothers_proof, "does not show how"),
        (_forged_proof, "not proven by the one on file"),
        (_in_anothers_name, "not proven by the one on file"),
        (_not_to_the_end, "does not show how"),
        (_another_node, "another supernode_key"),
    ],
)
def test_a_key_that_the_one_on_file_did_not_sign_for_is_refused(
    home: Home, rotating: Rotating, spoil: Callable[[Rotating], Request], says: str
) -> None:
    """Catches a stranger who sends a request in a hospital's name."""
    request = spoil(rotating)
    with pytest.raises(EnrolmentError, match=says):
        enroll(home, "north", request, evaluator=False)
    assert home.store().hospitals()["north"].release_key == rotating.keys[0].public
    assert not any(entry.kind == "handover" for entry in home.store().journal())


def test_a_replaced_key_is_never_enrolled_again(home: Home, rotating: Rotating, tmp_path: Path) -> None:
    """Catches another hospital, or the same one, that signs with a key which was given up."""
    rotating.rotate()
    enroll(home, "north", rotating.request(), evaluator=False)
    path = _request(tmp_path / "south", hospital="south")
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "release_key": rotating.keys[0].public.to_pem().decode()}))
    with pytest.raises(EnrolmentError, match="was north's and has been replaced"):
        enroll(home, "south", Request.load(path), evaluator=False)
    rotating.handovers.append(Handover.make("north", rotating.keys[1], rotating.keys[0].public).to_dict())
    rotating.keys.append(rotating.keys[0])
    with pytest.raises(EnrolmentError, match="has been replaced"):
        enroll(home, "north", rotating.request(), evaluator=False)

"""The home and its provisioning: keys that others can't read, certificates that verify, requests that are checked."""

from __future__ import annotations

import ipaddress
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass
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

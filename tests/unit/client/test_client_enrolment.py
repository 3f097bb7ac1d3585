"""Joining: what a hospital takes in, and what it refuses by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from client.cli import app
from client.courier import courier
from client.enrolment import answer, join
from client.errors import HomeError
from client.home import Home, Settings, create
from client.request_file import invitation_file
from privacy import canonical, durable, keys
from privacy.enrolment.certificates import read_root
from privacy.enrolment.invitation import Invitation
from privacy.enrolment.kit import Kit
from privacy.enrolment.request import Request
from privacy.errors import EnrolmentFileError, KeyFileError
from privacy.keys import PrivateKey
from tests.enrolment_cases import enrol_alone, invitation, kit, root, root_of


@dataclass(frozen=True)
class Invited:
    """A home that answered the invitation of `coordinator`."""

    home: Home
    coordinator: PrivateKey
    folder: Path

    @property
    def release_key(self) -> keys.PublicKey:
        return keys.load(self.home.release_key).public

    def kit(self, **changes: Any) -> Path:
        return self.written(kit("north", self.release_key, **changes).seal(self.coordinator))

    def written(self, data: bytes) -> Path:
        path = self.folder / "kit.json"
        path.write_bytes(data)
        return path

    def join(self, path: Path) -> None:
        join(self.home, path, datetime.now(UTC))


@pytest.fixture
def invited(tmp_path: Path) -> Invited:
    home = create(tmp_path / "home", Settings("north", tmp_path, tmp_path / "m.csv", tmp_path))
    coordinator = keys.generate(tmp_path / "coordinator.key")
    answer(home, invitation("north", coordinator.public), datetime.now(UTC))
    return Invited(home, coordinator, tmp_path)


@pytest.fixture
def joined(invited: Invited) -> Invited:
    invited.join(invited.kit())
    return invited


def _state(home: Home) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.folder.rglob("*") if path.is_file()}


def test_joining_pins_the_key_and_uses_the_invitation_up(joined: Invited) -> None:
    """Catches a home that trusts nobody or somebody else, and a secret that lies about after it was used."""
    home = joined.home
    assert home.coordinator == joined.coordinator.public
    assert home.kit.superlink == "127.0.0.1:1"
    assert (home.courier / "ca.crt").read_text() == root()
    assert not invitation_file(home).exists()


def test_a_kits_policy_is_a_proposal_only(invited: Invited) -> None:
    """Catches a coordinator that raises a hospital's budget by sending a kit."""
    mine = (invited.home.folder / "policy.toml").read_bytes()
    proposed = mine.decode().replace("epsilon_budget = 8.0", "epsilon_budget = 900.0")
    invited.join(invited.kit(policy=proposed, compose="services: {}\n"))
    assert (invited.home.folder / "policy.toml").read_bytes() == mine
    assert invited.home.policy.epsilon_budget == 8.0
    assert (invited.home.trust / "policy.toml").read_text() == proposed
    assert (invited.home.trust / "compose.yaml").read_text() == "services: {}\n"
    invited.join(invited.kit())
    assert not (invited.home.trust / "compose.yaml").exists()


def _resigned(change: Callable[[dict[str, Any]], None]) -> Callable[[Invited], Path]:
    """A kit that the coordinator did not sign as it stands: something was changed afterwards."""

    def spoil(invited: Invited) -> Path:
        values = json.loads(invited.kit().read_bytes())
        change(values["kit"])
        return invited.written(canonical.encode(values))

    return spoil


def _by_another(invited: Invited) -> Path:
    stranger = keys.generate(invited.folder / "stranger.key")
    return invited.written(kit("north", invited.release_key).seal(stranger))


def _signed_as_a_plan(invited: Invited) -> Path:
    values = json.loads(invited.kit().read_bytes())
    signature = invited.coordinator.sign(canonical.encode(values["kit"]), keys.Purpose.PLAN)
    return invited.written(canonical.encode({**values, "signature": signature.hex()}))


def _souths(invited: Invited) -> Path:
    return invited.written(kit("south", invited.release_key).seal(invited.coordinator))


def _for_another_key(invited: Invited) -> Path:
    other = keys.generate(invited.folder / "other.key").public
    return invited.written(kit("north", other).seal(invited.coordinator))


def _aged(**days: float) -> dict[str, datetime]:
    return {name: datetime.now(UTC) + timedelta(days=value) for name, value in days.items()}


def _ends_early(invited: Invited) -> Path:
    return invited.kit(roots=(root(), root_of(datetime.now(UTC) - timedelta(days=5 * 365 + 1))))


def _a_servers(invited: Invited) -> Path:
    """A server's certificate in a root's place: it can't vouch for anything, and must not."""
    from server.provision.authority import SERVER_CERTIFICATE, make_authority

    (invited.folder / "ca" / "keys").mkdir(parents=True)
    make_authority(invited.folder / "ca", "127.0.0.1", datetime.now(UTC))
    return invited.kit(roots=((invited.folder / "ca" / SERVER_CERTIFICATE).read_text(),))


def _damaged_root(invited: Invited) -> Path:
    """One letter of the certificate's signature is another."""
    certificate = x509.load_pem_x509_certificate(root().encode())
    der = bytearray(certificate.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    spoilt = x509.load_der_x509_certificate(bytes(der)).public_bytes(serialization.Encoding.PEM)
    return invited.kit(roots=(spoilt.decode(),))


TAMPERED: list[tuple[str, Callable[[Invited], Path], str]] = [
    ("another address", _resigned(lambda k: k.update(superlink="evil.example:9092")), "tampered with"),
    ("another root", _resigned(lambda k: k.update(roots=[root_of(datetime.now(UTC))])), "tampered with"),
    ("another policy", _resigned(lambda k: k.update(policy="")), "tampered with"),
    ("a later end", _resigned(lambda k: k.update(expires="2999-01-01T00:00:00.000+00:00")), "tampered with"),
    ("another hospital's made ours", _resigned(lambda k: k.update(hospital="north2")), "tampered with"),
    ("signed by another", _by_another, "tampered with, or is another coordinator's"),
    ("signed for another purpose", _signed_as_a_plan, "tampered with"),
    ("another hospital's", _souths, "south's, not north's"),
    ("for another release key", _for_another_key, "made for the release key"),
    ("expired", lambda i: i.kit(**_aged(issued=-400, expires=-1)), "kit of north expired"),
    ("not made yet", lambda i: i.kit(**_aged(issued=1, expires=2)), "yet to come"),
    ("with a root that ended", _ends_early, "CA .* expired at"),
    ("with a root that is to come", lambda i: i.kit(roots=(root_of(_aged(x=9)["x"]),)), "valid from"),
    ("with a server's certificate", _a_servers, "not one of an authority"),
    ("with a forged root", _damaged_root, "not signed with its own key"),
    ("with no certificate", lambda i: i.kit(roots=("no certificate",)), "no root certificate"),
    ("with two in one", lambda i: i.kit(roots=(root() + root(),)), "not spelled as PEM"),
    ("without a root", lambda i: i.kit(roots=()), "at kit"),
    ("with too many roots", lambda i: i.kit(roots=(root(),) * 5), "at kit"),
    ("with an option for an address", lambda i: i.kit(superlink="--insecure:1"), "at kit"),
    ("with two addresses", lambda i: i.kit(superlink="a:1 --insecure:2"), "at kit"),
    ("with an unknown field", _resigned(lambda k: k.update(run="sh")), "at kit"),
    ("too long", lambda i: i.written(b" " * (1 << 20)), "so it is no kit"),
    ("not JSON", lambda i: i.written(b"{"), "is no kit"),
    ("a list", lambda i: i.written(b"[]"), "no table"),
    ("an invitation", lambda i: i.written(invitation("north", i.coordinator.public).to_bytes()), "at "),
    ("not there", lambda i: i.folder / "none.json", "No such file"),
]


@pytest.mark.parametrize(
    ("spoil", "says"), [case[1:] for case in TAMPERED], ids=[case[0] for case in TAMPERED]
)
def test_a_kit_that_was_tampered_with_is_refused_by_name(
    invited: Invited, spoil: Callable[[Invited], Path], says: str
) -> None:
    """Catches a courier that is led to another machine, and a refusal that changed something first."""
    before, path = _state(invited.home), spoil(invited)
    with pytest.raises(EnrolmentFileError, match=says):
        invited.join(path)
    assert _state(invited.home) == before


def test_what_is_no_file_of_its_kind_is_named_once(tmp_path: Path) -> None:
    """Catches a path that is told twice, and "a invitation"."""
    trusted = keys.generate(tmp_path / "coordinator.key").public
    for what, load in (("request", Request.load), ("kit", lambda path: Kit.load(path, trusted))):
        with pytest.raises(
            EnrolmentFileError, match=f"^{tmp_path}: Is a directory: name the file of the {what}$"
        ):
            load(tmp_path)
    durable.replace(file := tmp_path / "invitation.json", b"{}")
    with pytest.raises(EnrolmentFileError, match=f"^{file}: is no invitation of this version, or changed"):
        Invitation.load(file)


def test_an_older_kit_is_refused(joined: Invited) -> None:
    """Catches an old address, or a root that was given up, that somebody brings back."""
    earlier = joined.home.kit.issued - timedelta(days=1)
    with pytest.raises(EnrolmentFileError, match="older than the one"):
        joined.join(joined.kit(issued=earlier))
    joined.join(joined.kit(superlink="10.0.0.1:9092"))
    assert joined.home.kit.superlink == "10.0.0.1:9092"


def test_a_damaged_kit_on_file_is_no_way_back(joined: Invited) -> None:
    """Catches a roll-back by whoever can damage the kit that was joined with."""
    path = joined.home.trust / "kit.json"
    path.write_bytes(path.read_bytes().replace(b"127.0.0.1:1", b"127.0.0.1:2"))
    with pytest.raises(HomeError, match="nothing says whether the new kit is older"):
        joined.join(joined.kit())
    with pytest.raises(EnrolmentFileError, match="tampered with"):
        _ = joined.home.kit


def test_joining_again_follows_no_link_of_the_couriers(joined: Invited, tmp_path: Path) -> None:
    """Catches a courier that has a file of root's overwritten: the folder is the courier's, who joins again is root."""
    precious, roots = tmp_path / "withdrawn.txt", joined.home.courier / "ca.crt"
    precious.write_text("p1\n")
    roots.unlink()
    roots.symlink_to(precious)
    joined.join(joined.kit())
    assert precious.read_text() == "p1\n"
    assert not roots.is_symlink()
    assert roots.read_text() == root()


def test_no_link_leads_the_request_to_another_key(joined: Invited, tmp_path: Path) -> None:
    """Catches a courier that has the hospital sign with, or complain about, a file that it can't read itself."""
    joined.home.node_key.rename(tmp_path / "elsewhere.key")
    joined.home.node_key.symlink_to(tmp_path / "elsewhere.key")
    with pytest.raises(KeyFileError, match=r"supernode\.key"):
        courier(joined.home)


def test_both_roots_go_to_the_courier_while_an_authority_changes(invited: Invited) -> None:
    """Catches a hospital that is cut off when the server's certificate changes."""
    other = root_of(datetime.now(UTC))
    invited.join(invited.kit(roots=(root(), other)))
    assert (invited.home.courier / "ca.crt").read_text() == root() + other


def test_nobody_joins_without_an_invitation(tmp_path: Path) -> None:
    """Catches a home that trusts whoever sends it a kit first."""
    home = create(tmp_path / "home", Settings("north", tmp_path, tmp_path / "m.csv", tmp_path))
    stranger = keys.generate(tmp_path / "stranger.key")
    path = tmp_path / "kit.json"
    path.write_bytes(kit("north", keys.load(home.release_key).public).seal(stranger))
    with pytest.raises(HomeError, match="nobody invited this hospital"):
        join(home, path, datetime.now(UTC))


def test_another_coordinators_invitation_does_not_replace_the_pinned_key(
    joined: Invited, tmp_path: Path
) -> None:
    """Catches a pinned key that is replaced without a word."""
    other = keys.generate(tmp_path / "other.key").public
    with pytest.raises(HomeError, match="another coordinator's"):
        answer(joined.home, invitation("north", other), datetime.now(UTC))
    assert joined.home.coordinator == joined.coordinator.public


@pytest.mark.parametrize(
    ("hospital", "days", "says"), [("south", 1, "south's, but this is north's"), ("north", -1, "expired")]
)
def test_an_invitation_that_is_not_for_this_home_now_is_refused(
    joined: Invited, hospital: str, days: float, says: str
) -> None:
    """Catches keys that are given up for an invitation that leads nowhere."""
    before = _state(joined.home)
    with pytest.raises((HomeError, EnrolmentFileError), match=says):
        answer(joined.home, invitation(hospital, joined.coordinator.public, days), datetime.now(UTC))
    assert _state(joined.home) == before


def test_a_second_invitation_is_answered_with_new_keys_and_the_old_ledger(joined: Invited) -> None:
    """Catches a revoked hospital that comes back under keys which can't be enrolled, or loses what it spent."""
    before = Request.load(joined.home.request)
    answer(joined.home, invitation("north", joined.coordinator.public), datetime.now(UTC))
    now = Request.load(joined.home.request)
    assert now.release_key != before.release_key
    assert now.supernode_key != before.supernode_key
    assert now.ticket not in (None, before.ticket)
    assert [h.new for h in now.handovers] == [now.release_key]


def test_an_invitation_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Catches a secret that lay open on the way, and a command that only hints at it."""
    path = tmp_path / "invitation.json"
    durable.replace(path, invitation("north", keys.generate(tmp_path / "c.key").public).to_bytes(), 0o644)
    arguments = ["init", str(tmp_path / "h"), "--invitation", str(path)]
    done = CliRunner().invoke(app, [*arguments, "--slides", "s", "--manifest", "m", "--base", "b"])
    assert done.exit_code == 2
    assert f"chmod 600 {path}" in done.output
    assert not (tmp_path / "h").exists()


def test_an_expired_kit_connects_no_courier(invited: Invited) -> None:
    """Catches an expiry that only a check knows of."""
    enrol_alone(invited.home, invited.coordinator, invited.folder / "kit.json")
    old = kit("north", invited.release_key, **_aged(issued=-400, expires=-1)).seal(invited.coordinator)
    (invited.home.trust / "kit.json").write_bytes(old)
    with pytest.raises(EnrolmentFileError, match="ask the coordinator for a renewed one"):
        courier(invited.home)


def test_join_tells_as_json_what_it_took_in(invited: Invited) -> None:
    """Catches a script that has to read prose."""
    done = CliRunner().invoke(app, ["join", str(invited.home.folder), str(invited.kit()), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["consortium"], told["hospital"], told["superlink"]) == ("rhine", "north", "127.0.0.1:1")
    assert [end["days_left"] > 300 for end in told["expiries"]] == [True, True]


def test_a_root_is_read_as_it_is() -> None:
    """Catches checks that refuse every certificate."""
    assert "FedPath consortium CA" in read_root(root(), datetime.now(UTC)).subject.rfc4514_string()

"""The consortium's home and its invitations: keys that others can't read, tickets that the store can't answer."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from privacy.errors import KeyFileError
from server.errors import EnrolmentError, HomeError
from server.home import Home
from server.provision.authority import renew_server
from tests.provision_cases import NOW, Hospital, invited


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

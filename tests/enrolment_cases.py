"""Invitations and kits of a coordinator that is a key and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from client.enrolment import answer, join
from client.home import Home
from privacy import keys
from privacy.enrolment.default_policy import default_policy
from privacy.enrolment.invitation import Invitation
from privacy.enrolment.kit import Kit
from privacy.keys import PrivateKey, PublicKey
from server.provision.authority import CA_CERTIFICATE, make_authority

SUPERLINK = "127.0.0.1:1"


@cache
def root() -> str:
    """A root certificate that is good for years."""
    return root_of(datetime.now(UTC))


def root_of(made: datetime) -> str:
    """A root certificate made at some time."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "keys").mkdir()
        make_authority(Path(folder), "127.0.0.1", made)
        return (Path(folder) / CA_CERTIFICATE).read_text()


def invitation(hospital: str, coordinator: PublicKey, days: float = 1) -> Invitation:
    return Invitation.make(
        "rhine", hospital, SUPERLINK, coordinator, datetime.now(UTC) + timedelta(days=days)
    )


def kit(hospital: str, release_key: PublicKey, **changes: Any) -> Kit:
    """A kit that is good, but for what is changed."""
    now = datetime.now(UTC)
    good = Kit(
        consortium="rhine",
        hospital=hospital,
        release_key=release_key,
        superlink=SUPERLINK,
        roots=(root(),),
        policy=default_policy(hospital),
        compose=None,
        issued=now,
        expires=now + timedelta(days=365),
    )
    return replace(good, **changes)


def enrol_alone(home: Home, coordinator: PrivateKey, path: Path) -> None:
    """Have a home answer an invitation of this coordinator, and join with the kit that it writes to `path`."""
    name = home.settings.name
    answer(home, invitation(name, coordinator.public), datetime.now(UTC))
    path.write_bytes(kit(name, keys.load(home.release_key).public).seal(coordinator))
    join(home, path, datetime.now(UTC))

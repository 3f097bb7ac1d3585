"""An invitation: who is invited, by whom, until when, and a secret that answers it once.

The file is as secret as a key: whoever holds it can be enrolled under the hospital's name. Its secret is the seed of an
Ed25519 key, the *ticket*. The hospital signs its request with the ticket; the consortium keeps the ticket's public half
alone, so that neither the request nor a copy of the consortium's store lets anyone else answer. The coordinator's key in it
is the one that the hospital will trust: hand the file over by a way that nobody can change, or compare fingerprints.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from privacy import canonical, keys
from privacy.enrolment import fields
from privacy.errors import EnrolmentFileError
from privacy.forms import Form
from privacy.keys import PrivateKey, PublicKey
from privacy.ledger.entries import written
from privacy.policy import is_hospital

FORMAT = "fedpath-invitation/1"
LIMIT = 4096
_SEED_BYTES = 32
_FIELDS: dict[str, Form] = {
    "format": fields.exactly(FORMAT),
    "consortium": is_hospital,  # spelled as hospitals' names are
    "hospital": is_hospital,
    "superlink": fields.address,
    "coordinator": canonical.is_digest,
    "secret": canonical.is_digest,
    "expires": fields.time,
}


@dataclass(frozen=True)
class Invitation:
    """A hospital's invitation. `superlink` is the SuperLink's "host:port"; the seed is not shown by `repr`."""

    consortium: str
    hospital: str
    superlink: str
    coordinator: PublicKey
    seed: bytes = field(repr=False)
    expires: datetime

    @classmethod
    def make(
        cls, consortium: str, hospital: str, superlink: str, coordinator: PublicKey, expires: datetime
    ) -> Invitation:
        """One with a fresh secret."""
        return cls(consortium, hospital, superlink, coordinator, secrets.token_bytes(_SEED_BYTES), expires)

    @property
    def ticket(self) -> PrivateKey:
        """The key that signs the one request."""
        return keys.of_seed(self.seed)

    def to_bytes(self) -> bytes:
        """The file."""
        return fields.write(
            {
                "format": FORMAT,
                "consortium": self.consortium,
                "hospital": self.hospital,
                "superlink": self.superlink,
                "coordinator": self.coordinator.raw.hex(),
                "secret": self.seed.hex(),
                "expires": written(self.expires),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Invitation:
        """Read hostile bytes.  Raises `EnrolmentFileError`."""
        values = fields.parse(data, LIMIT, "invitation", _FIELDS)
        return cls(
            values["consortium"],
            values["hospital"],
            values["superlink"],
            fields.key(values["coordinator"]),
            bytes.fromhex(values["secret"]),
            fields.moment(values["expires"]),
        )

    @classmethod
    def load(cls, path: Path) -> Invitation:
        """Read a file.  Raises `EnrolmentFileError`, and `KeyFileError` where others can read it: it is a secret."""
        try:
            return cls.from_bytes(keys.read_private(path))
        except EnrolmentFileError as error:
            raise EnrolmentFileError(f"{path}: {error}") from error

    def check_open(self, now: datetime) -> None:
        """Raise `EnrolmentFileError` where it has expired."""
        if now >= self.expires:
            raise EnrolmentFileError(
                f"the invitation of {self.hospital} expired at {written(self.expires)}: ask the coordinator for a new "
                "one, or set this machine's clock"
            )

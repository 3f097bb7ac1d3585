"""The kit: what a hospital needs to take part, signed by the coordinator for that one hospital and its release key.

    {"format": "fedpath-kit/1", "kit": {...}, "signature": the coordinator's, of the canonical form of "kit", in hex,
     "handovers": how the key that signed it came from the consortium's first one}

Nothing in it is secret. The policy is a proposal: what the hospital allows stays in its own policy.toml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from privacy import canonical
from privacy.enrolment import fields
from privacy.enrolment.certificates import read_root, root_expiries
from privacy.enrolment.expiry import Expiry
from privacy.errors import EnrolmentFileError, SignatureInvalid, WireError
from privacy.forms import Form, each, maybe, record
from privacy.handover import Handover, successors
from privacy.keys import SIGNATURE_BYTES, PrivateKey, PublicKey, Purpose
from privacy.ledger.entries import written
from privacy.policy import is_hospital

FORMAT = "fedpath-kit/1"
LIMIT = 512 * 1024
_LONGEST_ROOT, _MOST_ROOTS = 8 * 1024, 4
_LONGEST_TEXT = 64 * 1024
_SKEW = timedelta(minutes=5)


def _signature(value: object) -> bool:
    return (
        isinstance(value, str) and len(value) == 2 * SIGNATURE_BYTES and set(value) <= set("0123456789abcdef")
    )


def _roots(value: object) -> bool:
    return (
        each(fields.text_of(_LONGEST_ROOT))(value)
        and isinstance(value, list)
        and 0 < len(value) <= _MOST_ROOTS
    )


_CONTENT: dict[str, Form] = {
    "consortium": is_hospital,
    "hospital": is_hospital,
    "release_key": canonical.is_digest,
    "superlink": fields.address,
    "roots": _roots,
    "policy": fields.text_of(_LONGEST_TEXT),
    "compose": maybe(fields.text_of(_LONGEST_TEXT)),
    "issued": fields.time,
    "expires": fields.time,
}
_FIELDS: dict[str, Form] = {
    "format": fields.exactly(FORMAT),
    "kit": record(_CONTENT),
    "signature": _signature,
    "handovers": fields.handovers,
}


@dataclass(frozen=True)
class Kit:
    """A hospital's kit. `roots` are the root certificates (PEM) that may vouch for the SuperLink at `superlink`;
    `policy` and `compose` are texts to start from, the latter None where there is none. The key that signed it is the
    one whose plans are to be trusted: the trusted one, or where `successions` are not empty their last.
    """

    consortium: str
    hospital: str
    release_key: PublicKey
    superlink: str
    roots: tuple[str, ...]
    policy: str
    compose: str | None
    issued: datetime
    expires: datetime
    successions: tuple[Handover, ...] = ()

    def seal(self, coordinator: PrivateKey, handovers: Sequence[Handover] = ()) -> bytes:
        """The file, signed; `handovers` say how the coordinator's key came from its first one."""
        content = self._content()
        signature = coordinator.sign(canonical.encode(content), Purpose.KIT)
        chain = [handover.to_dict() for handover in handovers]
        return fields.write(
            {"format": FORMAT, "kit": content, "signature": signature.hex(), "handovers": chain}
        )

    @classmethod
    def open(cls, data: bytes, trusted: PublicKey) -> Kit:
        """Read hostile bytes that the key `trusted` must have signed, or one that it handed over to.

        Raises `EnrolmentFileError`.
        """
        values = fields.parse(data, LIMIT, "kit", _FIELDS)
        content: dict[str, Any] = values["kit"]
        try:
            name = content["consortium"]
            chain = [Handover.from_dict(name, item) for item in values["handovers"]]
            successions = successors(chain, name, trusted, Purpose.SUCCESSION)
            coordinator = successions[-1].new if successions else trusted
            coordinator.verify(bytes.fromhex(values["signature"]), canonical.encode(content), Purpose.KIT)
        except (SignatureInvalid, WireError) as error:
            raise EnrolmentFileError(
                f"the kit was tampered with, or is another coordinator's: {error}: ask for it again, by another way"
            ) from error
        plain = {
            **content,
            "release_key": fields.key(content["release_key"]),
            "roots": tuple(content["roots"]),
            "issued": fields.moment(content["issued"]),
            "expires": fields.moment(content["expires"]),
            "successions": successions,
        }
        return cls(**plain)

    @classmethod
    def load(cls, path: Path, trusted: PublicKey) -> Kit:
        """Read a file.  Raises `EnrolmentFileError` that names it."""
        data = fields.read(path, LIMIT, "kit")
        try:
            return cls.open(data, trusted)
        except EnrolmentFileError as error:
            raise EnrolmentFileError(f"{path}: {error}") from error

    def check_for(self, hospital: str, release_key: PublicKey, now: datetime) -> None:
        """Raise `EnrolmentFileError` unless it is this hospital's, for this key of its, and good now, roots included."""
        if self.hospital != hospital:
            raise EnrolmentFileError(f"the kit is {self.hospital}'s, not {hospital}'s: ask for your own")
        if self.release_key != release_key:
            raise EnrolmentFileError(
                f"the kit was made for the release key {self.release_key.fingerprint}, and {hospital}'s is "
                f"{release_key.fingerprint}: send the coordinator request.json, and join with the kit that answers it"
            )
        if self.issued - now > _SKEW:
            raise EnrolmentFileError(
                f"the kit was made at {written(self.issued)}, which is yet to come: set this machine's clock"
            )
        self.check_fresh(now)
        for root in self.roots:
            read_root(root, now)

    def check_fresh(self, now: datetime) -> None:
        """Raise `EnrolmentFileError` where it has expired."""
        if now >= self.expires:
            raise EnrolmentFileError(
                f"the kit of {self.hospital} expired at {written(self.expires)}: ask the coordinator for a renewed one, "
                "then `fedpath-hospital join`"
            )

    def check_after(self, joined: Kit) -> None:
        """Raise `EnrolmentFileError` where it is older than the kit that was joined with: an old address, or a root that
        was given up, must not come back.
        """
        if self.issued < joined.issued:
            raise EnrolmentFileError(
                f"the kit is of {written(self.issued)}, older than the one of {written(joined.issued)} that this home "
                "joined with: ask for the latest"
            )

    def expiries(self, now: datetime) -> Sequence[Expiry]:
        """How long the kit and its roots are good."""
        return [Expiry.of("kit", self.expires, now), *root_expiries(self.roots, now)]

    def _content(self) -> dict[str, object]:
        return {
            "consortium": self.consortium,
            "hospital": self.hospital,
            "release_key": self.release_key.raw.hex(),
            "superlink": self.superlink,
            "roots": list(self.roots),
            "policy": self.policy,
            "compose": self.compose,
            "issued": written(self.issued),
            "expires": written(self.expires),
        }

"""A hospital's request to be enrolled, or to have its rotated release key taken in.

It names public keys, and proves that who made it holds the private half of each: release key and node key sign its
content, and so does the ticket of the invitation that it answers. After `fedpath-hospital rotate-key` it says how the
release key came to be, from the first one on (`privacy.handover`), and needs no ticket: the old key is the proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from privacy import canonical
from privacy.enrolment import fields, node_key
from privacy.errors import EnrolmentFileError, SignatureInvalid, WireError
from privacy.forms import Form, maybe, record
from privacy.handover import Handover
from privacy.keys import PrivateKey, PublicKey, Purpose
from privacy.policy import is_hospital

FORMAT = "fedpath-request/1"
LIMIT = 64 * 1024
_LONGEST_PEM = 1024


_CONTENT: dict[str, Form] = {
    "coordinator": canonical.is_digest,
    "hospital": is_hospital,
    "release_key": canonical.is_digest,
    "supernode_key": fields.text_of(_LONGEST_PEM),
    "handovers": fields.handovers,
    "ticket": maybe(canonical.is_digest),
}
_FIELDS: dict[str, Form] = {
    "format": fields.exactly(FORMAT),
    "request": record(_CONTENT),
    "proofs": record(
        {"release_key": fields.proof, "supernode_key": fields.proof, "ticket": maybe(fields.proof)}
    ),
}


@dataclass(frozen=True)
class Request:
    """What a hospital asks of the holder of the key `coordinator`. `supernode_key` is PEM, as the SuperLink reports it.

    `ticket` is the public half of its invitation's secret; None where it answers none.
    """

    coordinator: PublicKey
    hospital: str
    release_key: PublicKey
    supernode_key: bytes
    handovers: tuple[Handover, ...] = ()
    ticket: PublicKey | None = None

    @classmethod
    def make(
        cls,
        coordinator: PublicKey,
        hospital: str,
        release: PrivateKey,
        node: EllipticCurvePrivateKey,
        handovers: Sequence[Handover],
        ticket: PrivateKey | None,
    ) -> bytes:
        """The file, with all proofs."""
        public = None if ticket is None else ticket.public
        asked = cls(
            coordinator, hospital, release.public, node_key.public_pem(node), tuple(handovers), public
        )
        content = asked._content()
        signed = canonical.encode(content)
        proofs = {
            "release_key": release.sign(signed, Purpose.REQUEST).hex(),
            "supernode_key": node_key.sign(node, signed).hex(),
            "ticket": None if ticket is None else ticket.sign(signed, Purpose.REQUEST).hex(),
        }
        return fields.write({"format": FORMAT, "request": content, "proofs": proofs})

    @classmethod
    def from_bytes(cls, data: bytes) -> Request:
        """Read hostile bytes; every proof is verified.  Raises `EnrolmentFileError`.

        Whether the ticket is one of an open invitation, and whether the handovers lead from a key on file, is for who
        keeps those.
        """
        values = fields.parse(data, LIMIT, "request", _FIELDS)
        content, proofs = values["request"], values["proofs"]
        signed, name = canonical.encode(content), content["hospital"]
        ticket = None if content["ticket"] is None else fields.key(content["ticket"])
        try:
            chain = tuple(Handover.from_dict(name, item) for item in content["handovers"])
            found = cls(
                fields.key(content["coordinator"]),
                name,
                fields.key(content["release_key"]),
                node_key.checked(content["supernode_key"]),
                chain,
                ticket,
            )
            found.release_key.verify(bytes.fromhex(proofs["release_key"]), signed, Purpose.REQUEST)
            node_key.verify(found.supernode_key, bytes.fromhex(proofs["supernode_key"]), signed)
            if ticket is not None:
                ticket.verify(bytes.fromhex(proofs["ticket"] or ""), signed, Purpose.REQUEST)
        except (SignatureInvalid, WireError) as error:
            raise EnrolmentFileError(
                f"{name}'s request was changed, or its maker does not hold its keys: {error}"
            ) from error
        if ticket is None and proofs["ticket"] is not None:
            raise EnrolmentFileError(f"{name}'s request proves a ticket that it does not name")
        return found

    @classmethod
    def load(cls, path: Path) -> Request:
        """Read a file.  Raises `EnrolmentFileError` that names it."""
        data = fields.read(path, LIMIT, "request")
        try:
            return cls.from_bytes(data)
        except EnrolmentFileError as error:
            raise EnrolmentFileError(f"{path}: {error}") from error

    def _content(self) -> dict[str, object]:
        return {
            "coordinator": self.coordinator.raw.hex(),
            "hospital": self.hospital,
            "release_key": self.release_key.raw.hex(),
            "supernode_key": self.supernode_key.decode(),
            "handovers": [handover.to_dict() for handover in self.handovers],
            "ticket": None if self.ticket is None else self.ticket.raw.hex(),
        }

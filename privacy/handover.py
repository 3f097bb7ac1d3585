"""A hospital's word to the consortium that a new release key takes an old one's place, signed with the old one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from privacy import canonical
from privacy.errors import KeyFileError, WireError
from privacy.keys import SIGNATURE_BYTES, PrivateKey, PublicKey, Purpose

_FIELDS = {"old", "new", "proof"}


@dataclass(frozen=True)
class Handover:
    """`old` signed that `new` is `hospital`'s key from now on.  The proof is verified by `successors`."""

    hospital: str
    old: PublicKey
    new: PublicKey
    proof: bytes

    @classmethod
    def make(cls, hospital: str, old: PrivateKey, new: PublicKey) -> Handover:
        """Sign over to `new`."""
        return cls(hospital, old.public, new, old.sign(_signed(hospital, old.public, new), Purpose.ENROLMENT))

    def to_dict(self) -> dict[str, str]:
        """Keys and proof in hex, as request and journal hold them."""
        return {"old": self.old.raw.hex(), "new": self.new.raw.hex(), "proof": self.proof.hex()}

    @classmethod
    def from_dict(cls, hospital: str, values: object) -> Handover:
        """Read hostile values.  Raises `WireError`."""
        if (
            not isinstance(values, dict)
            or set(values) != _FIELDS
            or not all(isinstance(value, str) for value in values.values())
        ):
            raise WireError(f"not a key's handover: it must have {', '.join(sorted(_FIELDS))}, each in hex")
        try:
            old, new = (PublicKey(bytes.fromhex(values[name])) for name in ("old", "new"))
            proof = bytes.fromhex(values["proof"])
        except (ValueError, KeyFileError) as error:
            raise WireError(f"not a key's handover: {error}") from error
        if len(proof) != SIGNATURE_BYTES:
            raise WireError("not a key's handover: its proof is no signature")
        return cls(hospital, old, new, proof)


def successors(handovers: Sequence[Handover], hospital: str, trusted: PublicKey) -> tuple[Handover, ...]:
    """Those that lead on from the hospital's `trusted` key, in order, each verified; none where none begins there.

    A hospital that rotated its key twice before it sent a request hands in both.  Raises `SignatureInvalid` for a
    proof that the key before it did not make.
    """
    found: list[Handover] = []
    for handover in handovers:
        if handover.old != trusted:
            continue
        trusted.verify(handover.proof, _signed(hospital, handover.old, handover.new), Purpose.ENROLMENT)
        found.append(handover)
        trusted = handover.new
    return tuple(found)


def _signed(hospital: str, old: PublicKey, new: PublicKey) -> bytes:
    return canonical.encode({"hospital": hospital, "old": old.raw.hex(), "new": new.raw.hex()})

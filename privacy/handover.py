"""Word that a new key takes an old one's place, signed with the old one.

A hospital hands over its release key (purpose `ENROLMENT`, under its name), the coordinator the key that signs plans
(`SUCCESSION`, under the consortium's): neither kind of word passes for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from privacy import canonical
from privacy.errors import KeyFileError, WireError
from privacy.keys import SIGNATURE_BYTES, PrivateKey, PublicKey, Purpose

_FIELDS = {"old", "new", "proof"}


@dataclass(frozen=True)
class Handover:
    """`old` signed that `new` is `name`'s key from now on.  The proof is verified by `successors`."""

    name: str
    old: PublicKey
    new: PublicKey
    proof: bytes

    @classmethod
    def make(
        cls, name: str, old: PrivateKey, new: PublicKey, purpose: Purpose = Purpose.ENROLMENT
    ) -> Handover:
        """Sign over to `new`."""
        return cls(name, old.public, new, old.sign(_signed(name, old.public, new), purpose))

    def to_dict(self) -> dict[str, str]:
        """Keys and proof in hex, as request and journal hold them."""
        return {"old": self.old.raw.hex(), "new": self.new.raw.hex(), "proof": self.proof.hex()}

    @classmethod
    def from_dict(cls, name: str, values: object) -> Handover:
        """Read hostile values.  Raises `WireError`."""
        if (
            not isinstance(values, dict)
            or set(values) != _FIELDS
            or not all(isinstance(value, str) for value in values.values())
        ):
            raise WireError(f"not a key's handover: it must have {', '.join(sorted(_FIELDS))}, each in hex")
        try:
            old, new = (PublicKey(bytes.fromhex(values[key])) for key in ("old", "new"))
            proof = bytes.fromhex(values["proof"])
        except (ValueError, KeyFileError) as error:
            raise WireError(f"not a key's handover: {error}") from error
        if len(proof) != SIGNATURE_BYTES:
            raise WireError("not a key's handover: its proof is no signature")
        return cls(name, old, new, proof)


def successors(
    handovers: Sequence[Handover], name: str, trusted: PublicKey, purpose: Purpose = Purpose.ENROLMENT
) -> tuple[Handover, ...]:
    """Those that lead on from `name`'s `trusted` key, in order, each verified; none where none begins there.

    Who rotated a key twice before it was told hands in both.  Raises `SignatureInvalid` for a
    proof that the key before it did not make.
    """
    found: list[Handover] = []
    for handover in handovers:
        if handover.old != trusted:
            continue
        trusted.verify(handover.proof, _signed(name, handover.old, handover.new), purpose)
        found.append(handover)
        trusted = handover.new
    return tuple(found)


def _signed(name: str, old: PublicKey, new: PublicKey) -> bytes:
    return canonical.encode({"hospital": name, "old": old.raw.hex(), "new": new.raw.hex()})

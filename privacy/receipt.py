"""The coordinator's receipt: which releases of a hospital arrived, or its masked sum, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy import canonical
from privacy.codes import ReleaseFault
from privacy.egress_record import MASKED
from privacy.errors import WireError
from privacy.experts import EXPERTS
from privacy.keys import SIGNATURE_BYTES, PrivateKey, PublicKey, Purpose

ACCEPTED = "accepted"
MAX_BYTES = 64 * 1024
ACKNOWLEDGED = frozenset({*EXPERTS, MASKED})  # what a receipt may be for
_OUTCOMES = frozenset({ACCEPTED, *ReleaseFault})


@dataclass(frozen=True)
class Receipt:
    """Countersigned proof for the hospital's ledger.

    `releases` maps each expert to the SHA-256 of the release's bytes as they arrived, `outcomes` to
    "accepted" or a `ReleaseFault`.  `reservation` is the entry of the hospital's ledger that the accepted
    releases name (None where none was accepted): its hash covers that ledger up to there, so a hospital that
    rewrites its ledger contradicts what the coordinator holds.  Under distributed trust the one name is "masked",
    the SHA-256 that of the masked sum, and the outcome "accepted": it is in the round's sum.  A masked sum names no
    reservation.  Raises `WireError` for other outcomes or where the tables disagree.
    """

    hospital: str
    campaign: str
    round: int
    plan_hash: str
    releases: Mapping[str, str]
    outcomes: Mapping[str, str]
    reservation: str | None

    def __post_init__(self) -> None:
        tables = (self.releases, self.outcomes)
        masked = isinstance(self.releases, Mapping) and MASKED in self.releases
        well_formed = (
            all(isinstance(name, str) for name in (self.hospital, self.campaign))
            and type(self.round) is int
            and canonical.is_digest(self.plan_hash)
            and all(isinstance(table, Mapping) for table in tables)
            and set(self.releases) == set(self.outcomes)
            and all(canonical.is_digest(value) for value in self.releases.values())
            and all(isinstance(value, str) and value in _OUTCOMES for value in self.outcomes.values())
            and (self.reservation is None or canonical.is_digest(self.reservation))
            and (self.reservation is not None) == (ACCEPTED in self.outcomes.values() and not masked)
            and (not masked or dict(self.outcomes) == {MASKED: ACCEPTED})
        )
        if not well_formed:
            raise WireError("not a receipt: a field is of a wrong form")

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values."""
        return {
            "hospital": self.hospital,
            "campaign": self.campaign,
            "round": self.round,
            "plan_hash": self.plan_hash,
            "releases": dict(self.releases),
            "outcomes": {name: str(value) for name, value in self.outcomes.items()},
            "reservation": self.reservation,
        }

    def sign(self, key: PrivateKey) -> bytes:
        """The bytes that travel: a signature, then canonical JSON."""
        payload = canonical.encode(self.to_dict())
        return key.sign(payload, Purpose.RECEIPT) + payload

    @classmethod
    def open(cls, data: bytes, coordinator: PublicKey) -> Receipt:
        """Read hostile bytes.  Raises `SignatureInvalid`, then `WireError`."""
        payload = data[SIGNATURE_BYTES:]
        coordinator.verify(data[:SIGNATURE_BYTES], payload, Purpose.RECEIPT)
        return cls.from_dict(canonical.decode(payload, MAX_BYTES))

    @classmethod
    def from_dict(cls, values: object) -> Receipt:
        """Read `to_dict`'s form.  Raises `WireError`."""
        if not isinstance(values, dict) or set(values) != set(cls.__dataclass_fields__):
            raise WireError("not a receipt: its fields are others")
        return cls(**values)

"""One round of secure aggregation: who takes part, how many must stay, and what every message is bound to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from privacy import canonical
from privacy.codes import SecaggFault
from privacy.errors import KeyFileError, SecaggRefused, WireError
from privacy.forms import count, record, table, text
from privacy.keys import PrivateKey, PublicKey, Purpose
from privacy.plan import is_campaign
from privacy.policy import is_hospital
from privacy.secagg.grid import WORD_BITS
from privacy.secagg.terms import FEWEST, MOST, Distributed

MAX_BYTES = 64 * 1024
_FORM = record(
    {
        "campaign": text,
        "round": count,
        "plan_hash": canonical.is_digest,
        "roll": table,
        "threshold": count,
        "colluding": count,
        "size": count,
        "bits": count,
        "attempt": count,
    }
)


@dataclass(frozen=True)
class Session:
    """A round's terms. Every hospital judges them by itself; its hash stands in every message.

    `roll` maps the hospitals' names to their release keys. `threshold` is how many must stay to the end; `colluding`
    how many of them may side with the server. `size` counts the vector's words, of `bits` bits. `attempt` tells sessions
    of one round apart: one in which nothing was masked may be followed by another.

    Guarantee, for terms that this class admits (n hospitals, threshold t, c colluding):
    t > 2n/3 and 2t > n + c, so that two different sets of survivors never both find t hospitals that sign for them
    (Bonawitz et al., CCS 2017, theorem 6.5); and every sum holds the noise of at least t - c honest hospitals.

    Raises `SecaggRefused` with `threshold` where that does not hold, with `malformed` for anything else.
    """

    campaign: str
    round: int
    plan_hash: str
    roll: Mapping[str, PublicKey]
    threshold: int
    colluding: int
    size: int
    bits: int
    attempt: int = 1

    def __post_init__(self) -> None:
        n, t = len(self.roll), self.threshold
        whole = all(
            type(value) is int
            for value in (self.round, t, self.colluding, self.size, self.bits, self.attempt)
        )
        if not (
            whole
            and is_campaign(self.campaign)
            and self.round >= 1
            and self.attempt >= 1
            and canonical.is_digest(self.plan_hash)
            and self.size >= 1
            and self.bits in WORD_BITS
        ):
            raise SecaggRefused(SecaggFault.MALFORMED, "a session's field has a wrong form")
        if not FEWEST <= n <= MOST or not all(map(is_hospital, self.roll)):
            raise SecaggRefused(SecaggFault.MALFORMED, f"a roll of {n} hospitals, or with an odd name")
        if len({key.raw for key in self.roll.values()}) < n:
            raise SecaggRefused(SecaggFault.REPEATED, "two hospitals on the roll have one release key")
        if not (3 * t > 2 * n and t <= n and self.colluding >= 0 and 2 * t > n + self.colluding):
            raise SecaggRefused(
                SecaggFault.THRESHOLD,
                f"{t} of {n} with {self.colluding} colluding: more than 2/3 must stay, and 2t > n + colluding",
            )
        object.__setattr__(self, "roll", MappingProxyType(dict(sorted(self.roll.items()))))

    @property
    def honest(self) -> int:
        """How many honest hospitals' noise every sum holds at least."""
        return self.threshold - self.colluding

    def meets(self, terms: Distributed) -> bool:
        """Whether it bears as many colluding hospitals, and leaves as many honest ones, as a plan says."""
        return self.colluding == terms.colluding and self.honest >= terms.honest

    @property
    def places(self) -> Mapping[str, int]:
        """Each hospital's place on the roll, from 1: the point at which it holds shares."""
        return {name: place for place, name in enumerate(self.roll, start=1)}

    @property
    def hash(self) -> str:
        """SHA-256 of the terms."""
        return canonical.digest(self.to_bytes())

    def sign(self, key: PrivateKey) -> bytes:
        """The coordinator's signature that travels beside `to_bytes()`."""
        return key.sign(self.to_bytes(), Purpose.SESSION)

    @classmethod
    def open(cls, data: bytes, signature: bytes, coordinator: PublicKey) -> Session:
        """Read terms that came over the network: signature first (`SignatureInvalid`), then `from_bytes`."""
        coordinator.verify(signature, data, Purpose.SESSION)
        return cls.from_bytes(data)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return canonical.encode({**fields, "roll": {name: key.raw.hex() for name, key in self.roll.items()}})

    @classmethod
    def from_bytes(cls, data: bytes) -> Session:
        """Read hostile bytes. Raises `SecaggRefused`."""
        try:
            fields = canonical.decode(data, MAX_BYTES)
            if not _FORM(fields):
                raise WireError("its fields are not a session's")
            roll = {name: PublicKey(bytes.fromhex(key)) for name, key in fields["roll"].items()}
            session = cls(**{**fields, "roll": roll})
        except (WireError, KeyFileError, ValueError, TypeError) as error:
            raise SecaggRefused(SecaggFault.MALFORMED, f"not a session: {error}") from error
        if session.to_bytes() != data:  # keys have other spellings in hex
            raise SecaggRefused(SecaggFault.MALFORMED, "not a session as it is written")
        return session

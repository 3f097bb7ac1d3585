"""The answer to a noised evaluation: counts, bound to request and reservation, signed by the hospital.

    NoisedCounts + Reservation --seal_counts--> bytes --open_counts--> SealedCounts, or a refusal by name

Layout: an Ed25519 signature over all that follows it, then canonical JSON (`SealedCounts`' fields).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privacy import canonical
from privacy.codes import ReleaseFault
from privacy.errors import MechanismError, ReleaseRefused, SealError, SignatureInvalid, WireError
from privacy.evaluation import Kind, NoisedEvaluation
from privacy.keys import SIGNATURE_BYTES, PrivateKey, PublicKey, Purpose
from privacy.ledger.account import Reservation
from privacy.mechanism import Event

if TYPE_CHECKING:  # it needs torch; what only reads answers does not
    from privacy.noised_counts import NoisedCounts

MAX_BYTES = 64 * 1024
_MOST = 10**9  # patients, and noise: beyond any hospital's
_DIGESTS = ("request", "reservation", "code_hash")


@dataclass(frozen=True)
class SealedCounts:
    """A checked answer: patients' worth of `right` and `wrong` answers for each kind, in the order of `kinds`.

    `key` is the fingerprint of the hospital's release key, `request` the hash of what was asked, `reservation` the
    entry of the hospital's ledger that paid, `event` what it paid for, `noise_std` that of each count.
    Raises `WireError` for a field of a wrong form.
    """

    hospital: str
    key: str
    request: str
    reservation: str
    code_hash: str
    kinds: tuple[Kind, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    noise_std: float
    event: Event

    def __post_init__(self) -> None:
        well_formed = (
            isinstance(self.hospital, str)
            and isinstance(self.key, str)
            and all(canonical.is_digest(getattr(self, name)) for name in _DIGESTS)
            and all(isinstance(word, str) for kind in self.kinds for word in kind)
            and len(self.right) == len(self.wrong) == len(self.kinds)
            and all(type(count) is int and abs(count) <= _MOST for count in self.right + self.wrong)
            and type(self.noise_std) is float
            and 0 < self.noise_std <= _MOST
        )
        if not well_formed:
            raise WireError("not noised counts: a field is of a wrong form")

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        lists = {
            "kinds": [list(kind) for kind in self.kinds],
            "right": list(self.right),
            "wrong": list(self.wrong),
        }
        return canonical.encode({**fields, **lists, "event": self.event.to_dict()})

    @classmethod
    def from_bytes(cls, data: bytes) -> SealedCounts:
        """Read hostile bytes.  Raises `WireError`."""
        fields = canonical.decode(data, MAX_BYTES)
        if not isinstance(fields, dict) or set(fields) != set(cls.__dataclass_fields__):
            raise WireError("not noised counts: its fields are others")
        if not all(isinstance(fields[name], list) for name in ("kinds", "right", "wrong")):
            raise WireError("not noised counts: kinds and counts must be lists")
        if not all(isinstance(kind, list) for kind in fields["kinds"]):
            raise WireError("not noised counts: a kind is no pair")
        try:
            event = Event.from_dict(fields["event"])
        except MechanismError as error:
            raise WireError(f"not noised counts: {error}") from error
        lists = {
            "kinds": tuple(map(tuple, fields["kinds"])),
            "right": tuple(fields["right"]),
            "wrong": tuple(fields["wrong"]),
        }
        return cls(**{**fields, **lists, "event": event})


@dataclass(frozen=True)
class CountsExpectation:
    """What an answer must match: made by the consortium for a request, by a hospital for its egress guard.

    `hospitals` maps names to release keys; `code_hashes` are the installations whose answers are taken (None
    for any).
    """

    request: NoisedEvaluation
    hospitals: Mapping[str, PublicKey]
    code_hashes: frozenset[str] | None = None


def seal_counts(
    counts: NoisedCounts, reservation: Reservation, request: NoisedEvaluation, hospital: str, key: PrivateKey
) -> bytes:
    """Bind and sign noised counts.

    Raises `SealError` unless they are of the request's kinds, noised from a secure source exactly as the
    reservation pays for.
    """
    if reservation.plan_hash != request.hash or reservation.event != request.event():
        raise SealError("the reservation pays for another request")
    if counts.event != reservation.event or counts.kinds != request.kinds:
        raise SealError("the counts are of another mechanism or of other kinds than were paid for")
    if not counts.secure:
        raise SealError(
            "some noise came from a seeded generator, and whoever knows the seed can take it off again: count "
            "with SecureRandom"
        )
    payload = SealedCounts(
        hospital=hospital,
        key=key.public.fingerprint,
        request=request.hash,
        reservation=reservation.hash,
        code_hash=reservation.code_hash,
        kinds=counts.kinds,
        right=counts.right,
        wrong=counts.wrong,
        noise_std=counts.noise_std,
        event=counts.event,
    ).to_bytes()
    return key.sign(payload, Purpose.COUNTS) + payload


def open_counts(data: bytes, expected: CountsExpectation) -> SealedCounts:
    """Read hostile bytes, or raise `ReleaseRefused` with the first check that fails; no other error is raised.

    The order: size, form, hospital, key, signature; then, now that we know who wrote it: request, event, the
    noise that goes with it, code, kinds.
    """
    payload = data[SIGNATURE_BYTES:]
    if len(payload) > MAX_BYTES:
        raise ReleaseRefused(ReleaseFault.TOO_LARGE, f"{len(data)} bytes of counts")
    try:
        found = SealedCounts.from_bytes(payload)
    except WireError as error:
        raise ReleaseRefused(ReleaseFault.NOT_A_RELEASE, str(error)) from None
    key = expected.hospitals.get(found.hospital)
    if key is None:
        raise ReleaseRefused(ReleaseFault.UNKNOWN_HOSPITAL, f"no hospital {found.hospital!r} is enrolled")
    if found.key != key.fingerprint:
        raise ReleaseRefused(
            ReleaseFault.UNKNOWN_KEY, f"{found.hospital} is enrolled with the key {key.fingerprint}"
        )
    try:
        key.verify(data[:SIGNATURE_BYTES], payload, Purpose.COUNTS)
    except SignatureInvalid as error:
        raise ReleaseRefused(ReleaseFault.BAD_SIGNATURE, str(error)) from None
    _check_binding(found, expected)
    return found


def _check_binding(found: SealedCounts, expected: CountsExpectation) -> None:
    asked, codes = expected.request, expected.code_hashes
    for code, holds, what in (
        (ReleaseFault.WRONG_PLAN, found.request == asked.hash, "it answers another request"),
        (ReleaseFault.WRONG_EVENT, found.event == asked.event(), "it says that it spent something else"),
        (
            ReleaseFault.WRONG_EVENT,
            math.isclose(found.noise_std, asked.noise_std, rel_tol=1e-9),
            f"it states the noise {found.noise_std}, and the request's is {asked.noise_std}",
        ),
        (
            ReleaseFault.WRONG_CODE,
            codes is None or found.code_hash in codes,
            f"it was made by code {found.code_hash}, which is not trusted",
        ),
        (ReleaseFault.WRONG_SHAPE, found.kinds == asked.kinds, "its counts are of other kinds"),
    ):
        if not holds:
            raise ReleaseRefused(code, what)

"""The sealed release: the one thing that leaves a hospital.

    ExpertDelta + Reservation --seal--> bytes --check--> Release, or a refusal by name

Layout: magic `FPR2`, an Ed25519 signature over all that follows it, then a safetensors file (`privacy.payload`), whose
metadata holds the header (canonical JSON: `Header`'s fields), the nonce being the seed of the rounding to int8.
Quantising is post-processing of what was noised, and costs no privacy.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from privacy import canonical, tensors
from privacy.codes import ReleaseFault
from privacy.delta import ExpertDelta
from privacy.errors import MechanismError, ReleaseRefused, SealError, SignatureInvalid, WireError
from privacy.keys import SIGNATURE_BYTES, PrivateKey, PublicKey, Purpose
from privacy.ledger.account import Reservation
from privacy.mechanism import Event
from privacy.payload import Shape, norm_of, pack, unpack
from privacy.plan import Plan
from privacy.ranks import first_columns, lower_rank

MAGIC = b"FPR2"
PAYLOAD = len(MAGIC) + SIGNATURE_BYTES
_TEXTS = ("hospital", "key", "campaign", "expert")
_DIGESTS = ("base_hash", "parent_hash", "plan_hash", "code_hash", "reservation", "nonce")


@dataclass(frozen=True)
class Header:
    """What a release is bound to; signed with it.

    `key` is the fingerprint of the hospital's release key; `parent_hash` names the expert state that the change
    is relative to; `reservation` the entry of the hospital's ledger that paid, and `event` what it paid for
    (one event for all of the round's experts together); `noise_variance` is that of the noise in each
    coordinate of one step's mean gradient; `shapes` are those of the expert's tensors; `nonce` is drawn
    anew for each release, so no two are alike.
    """

    hospital: str
    key: str
    campaign: str
    round: int
    expert: str
    base_hash: str
    parent_hash: str
    plan_hash: str
    code_hash: str
    reservation: str
    event: Event
    noise_variance: float
    shapes: Mapping[str, Shape]
    nonce: str

    @property
    def noise_std(self) -> float:
        """The standard deviation that `noise_variance` is the square of."""
        return math.sqrt(self.noise_variance)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(Header)}
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return canonical.encode({**values, "event": self.event.to_dict(), "shapes": shapes})

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """Read hostile bytes.  Raises `WireError` for a missing, unknown or misshapen field."""
        values = canonical.decode(data, tensors.MAX_HEADER_BYTES)
        if not isinstance(values, dict) or set(values) != {field.name for field in fields(Header)}:
            raise WireError("the header's fields are not a release's")
        well_formed = (
            all(isinstance(values[name], str) for name in _TEXTS)
            and all(canonical.is_digest(values[name]) for name in _DIGESTS)
            and type(values["round"]) is int
            and type(values["noise_variance"]) is float
            and values["noise_variance"] >= 0
            and isinstance(values["shapes"], dict)
            and all(_is_shape(shape) for shape in values["shapes"].values())
        )
        if not well_formed:
            raise WireError("a field of the header has a wrong form")
        try:
            event = Event.from_dict(values["event"])
        except MechanismError as error:
            raise WireError(str(error)) from error
        shapes = {name: tuple(shape) for name, shape in values["shapes"].items()}
        return cls(**{**values, "event": event, "shapes": shapes})


@dataclass(frozen=True)
class Release(Header):
    """A checked release.  `tensors` are the expert's change, float32, dequantised."""

    tensors: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Expectation:
    """What a release must match: made by the consortium for a round, by a hospital for its egress guard.

    `hospitals` maps names to release keys; `shapes` gives the tensor shapes of each expert, of which a release may hold
    the first columns only where `lower_ranks` (`privacy.ranks`); `max_norm` bounds the L2 norm of one expert's whole
    change (`math.inf` for no bound), and that of n of its N values by sqrt(n / N) of it; `max_bytes` bounds one release;
    `code_hashes` are the installations whose releases are taken (None for any); `taken` are the nonces of releases that
    were taken before.
    """

    plan: Plan
    hospitals: Mapping[str, PublicKey]
    shapes: Mapping[str, Mapping[str, Shape]]
    max_bytes: int
    max_norm: float
    code_hashes: frozenset[str] | None = None
    taken: Collection[str] = frozenset()
    lower_ranks: bool = False


def seal(delta: ExpertDelta, reservation: Reservation, plan: Plan, hospital: str, key: PrivateKey) -> bytes:
    """Quantise, bind and sign one expert's delta.

    Raises `SealError` unless the delta was made by exactly the steps of the plan's mechanism that the
    reservation pays for, for an expert that the plan trains, with noise from a secure source, and of no more columns
    than the policy let train when it was reserved.
    """
    _check_paid(delta, reservation, plan)
    header = Header(
        hospital=hospital,
        key=key.public.fingerprint,
        campaign=plan.campaign,
        round=plan.round,
        expert=delta.expert,
        base_hash=plan.base_hash,
        parent_hash=plan.experts_hash[delta.expert],
        plan_hash=plan.hash,
        code_hash=reservation.code_hash,
        reservation=reservation.hash,
        event=reservation.event,
        noise_variance=delta.noise_std**2,
        shapes={name: value.shape for name, value in delta.tensors.items()},
        nonce=secrets.token_hex(32),
    )
    for name, value in delta.tensors.items():
        if not np.isfinite(value).all():
            raise SealError(f"{delta.expert}: {name} diverged to NaN or infinity: lower the learning rate")
    payload = pack(delta.tensors, header.to_bytes().decode("utf-8"), header.nonce)
    return MAGIC + key.sign(payload, Purpose.RELEASE) + payload


def check(data: bytes, expected: Expectation) -> Release:
    """Read hostile bytes into a `Release`, or raise `ReleaseRefused` with the first check that fails.

    The order: size, form of the header, hospital, key, signature; then, now that we know who wrote it:
    campaign, round, plan, event, base, code, expert, parent, shapes, replay; then the tensors: form, dtypes,
    shapes, finiteness, norm.  No other error is raised, whatever `data` holds.
    """
    if len(data) > expected.max_bytes:
        raise _refused(ReleaseFault.TOO_LARGE, f"{len(data)} bytes are over {expected.max_bytes}")
    payload = data[PAYLOAD:]
    header = _header(data, payload)
    key = expected.hospitals.get(header.hospital)
    if key is None:
        raise _refused(ReleaseFault.UNKNOWN_HOSPITAL, f"no hospital {header.hospital!r} is enrolled")
    if header.key != key.fingerprint:
        raise _refused(
            ReleaseFault.UNKNOWN_KEY,
            f"{header.hospital} is enrolled with the key {key.fingerprint}, not {header.key!r}: enrol a new key",
        )
    try:
        key.verify(data[len(MAGIC) : PAYLOAD], payload, Purpose.RELEASE)
    except SignatureInvalid as error:
        raise _refused(ReleaseFault.BAD_SIGNATURE, str(error)) from None
    _check_binding(header, expected)
    values = unpack(payload, header.shapes, expected.max_bytes)
    held, whole = _size(header.shapes), _size(expected.shapes[header.expert])
    _check_norm(values, expected.max_norm * math.sqrt(held / max(whole, 1)))
    return Release(**{field.name: getattr(header, field.name) for field in fields(Header)}, tensors=values)


def _check_paid(delta: ExpertDelta, reservation: Reservation, plan: Plan) -> None:
    if reservation.plan_hash != plan.hash or reservation.event != plan.event():
        raise SealError("the reservation pays for another plan")
    if plan.distributed is not None:
        raise SealError("the plan asks for a share of a sum, and pays for nothing that stands alone")
    if delta.mechanism != plan.mechanism or delta.steps != plan.mechanism.steps:
        raise SealError(
            f"the delta took {delta.steps} steps of {delta.mechanism}, but the plan pays for {plan.mechanism}"
        )
    if delta.expert not in plan.experts:
        raise SealError(f"the plan does not train {delta.expert}")
    shapes = {name: value.shape for name, value in delta.tensors.items()}
    if shapes != first_columns(shapes, reservation.max_rank):
        raise SealError(
            f"{delta.expert}: the policy lets at most {reservation.max_rank} columns of a B train"
        )
    if not delta.secure:
        raise SealError(
            f"{delta.expert}: some noise came from a seeded generator, and whoever knows the seed can take it "
            "off again: train with SecureRandom"
        )


def _header(data: bytes, payload: bytes) -> Header:
    if not data.startswith(MAGIC) or not payload:
        raise _refused(ReleaseFault.NOT_A_RELEASE, "it does not begin as a release does")
    try:
        return Header.from_bytes(tensors.read_metadata(payload, len(payload)).encode("utf-8"))
    except (WireError, UnicodeEncodeError) as error:
        raise _refused(ReleaseFault.NOT_A_RELEASE, f"header: {error}") from None


def _check_binding(header: Header, expected: Expectation) -> None:
    plan = expected.plan
    for code, found, wanted in (
        (ReleaseFault.WRONG_CAMPAIGN, header.campaign, plan.campaign),
        (ReleaseFault.WRONG_ROUND, header.round, plan.round),
        (ReleaseFault.WRONG_PLAN, header.plan_hash, plan.hash),
        (ReleaseFault.WRONG_EVENT, header.event, plan.event()),
        (ReleaseFault.WRONG_BASE, header.base_hash, plan.base_hash),
    ):
        if found != wanted:
            raise _refused(code, f"it is bound to {found}, not to {wanted}")
    if expected.code_hashes is not None and header.code_hash not in expected.code_hashes:
        raise _refused(
            ReleaseFault.WRONG_CODE, f"it was made by code {header.code_hash}, which is not trusted"
        )
    if header.expert not in plan.experts or header.expert not in expected.shapes:
        raise _refused(ReleaseFault.UNKNOWN_EXPERT, f"this round does not train {header.expert!r}")
    if header.parent_hash != plan.experts_hash[header.expert]:
        raise _refused(ReleaseFault.WRONG_PARENT, f"it continues {header.parent_hash}, not the round's start")
    whole = {name: tuple(shape) for name, shape in expected.shapes[header.expert].items()}
    _check_shapes(header.shapes, whole, lower_ranks=expected.lower_ranks)
    if header.nonce in expected.taken:
        raise _refused(ReleaseFault.REPLAYED, f"the release {header.nonce} was taken before")


def _check_shapes(found: Mapping[str, Shape], whole: Mapping[str, Shape], *, lower_ranks: bool) -> None:
    if found == whole:
        return
    rank = lower_rank(found, whole)
    if rank is None:
        raise _refused(ReleaseFault.WRONG_SHAPE, "its tensors are not the expert's")
    if not lower_ranks:
        raise _refused(
            ReleaseFault.LOWER_RANK, f"its B's have {rank} columns; only whole changes are counted here"
        )


def _check_norm(values: Mapping[str, NDArray[np.float32]], max_norm: float) -> None:
    norm = norm_of(values.values())
    if not math.isfinite(norm):
        raise _refused(ReleaseFault.NOT_FINITE, "it holds NaN or infinity")
    if norm > max_norm:
        raise _refused(ReleaseFault.NORM_TOO_LARGE, f"its norm {norm:.4g} is over {max_norm:.4g}")


def _size(shapes: Mapping[str, Shape]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _refused(code: ReleaseFault, message: str) -> ReleaseRefused:
    return ReleaseRefused(code, message)

"""The sealed release: the one thing that leaves a hospital.

    ExpertDelta + Reservation --seal--> bytes --check--> Release, or a refusal by name

Layout: magic `FPR1`, an Ed25519 signature over all that follows it, then a safetensors file.  Its metadata
holds the header (canonical JSON); each tensor t is `q/t` (int8, t's shape) and `s/t` (float32 scales): of a
matrix one scale for each slice along its shorter axis, of anything else one scale in all.
Quantising is post-processing of what was noised, and costs no privacy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy import canonical, tensors
from privacy.codes import ReleaseFault
from privacy.delta import ExpertDelta
from privacy.errors import ReleaseRefused, SealError, SignatureInvalid, WireError
from privacy.keys import SIGNATURE_BYTES, PrivateKey, PublicKey, Purpose
from privacy.ledger.account import Reservation
from privacy.plan import Plan

MAGIC = b"FPR1"
_PAYLOAD = len(MAGIC) + SIGNATURE_BYTES
_LEVELS = 127
_HASHES = ("base_hash", "parent_hash", "plan_hash", "code_hash", "reservation")


@dataclass(frozen=True)
class Header:
    """What a release is bound to; signed with it."""

    hospital: str
    campaign: str
    round: int
    expert: str
    base_hash: str
    parent_hash: str
    plan_hash: str
    code_hash: str
    reservation: str
    noise_std: float


@dataclass(frozen=True)
class Release(Header):
    """A checked release.  `tensors` are the expert's change, float32, dequantised.

    `parent_hash` names the expert state that the change is relative to, `reservation` the entry of the
    hospital's ledger that paid, and `noise_std` the noise in one step's mean gradient, as stated there.
    """

    tensors: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Expectation:
    """What a release must match: made by the consortium for a round, by a hospital for its egress guard.

    `hospitals` maps names to release keys; `shapes` gives the tensor shapes of each expert; `max_norm` bounds
    the L2 norm of one expert's change (`math.inf` for no bound); `max_bytes` bounds one release.
    """

    plan: Plan
    hospitals: Mapping[str, PublicKey]
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]]
    max_bytes: int
    max_norm: float


def seal(delta: ExpertDelta, reservation: Reservation, plan: Plan, hospital: str, key: PrivateKey) -> bytes:
    """Quantise, bind and sign one expert's delta.

    Raises `SealError` unless the delta was made by exactly the steps of the plan's mechanism that the
    reservation pays for, for an expert that the plan trains.
    """
    if reservation.plan_hash != plan.hash or reservation.event != plan.event():
        raise SealError("the reservation pays for another plan")
    if delta.mechanism != plan.mechanism or delta.steps != plan.mechanism.steps:
        raise SealError(
            f"the delta took {delta.steps} steps of {delta.mechanism}, but the plan pays for {plan.mechanism}"
        )
    if delta.expert not in plan.experts:
        raise SealError(f"the plan does not train {delta.expert}")
    header = Header(
        hospital=hospital,
        campaign=plan.campaign,
        round=plan.round,
        expert=delta.expert,
        base_hash=plan.base_hash,
        parent_hash=plan.experts_hash[delta.expert],
        plan_hash=plan.hash,
        code_hash=reservation.code_hash,
        reservation=reservation.hash,
        noise_std=delta.noise_std,
    )
    parts: dict[str, NDArray[Any]] = {}
    for name, value in delta.tensors.items():
        if not np.isfinite(value).all():
            raise SealError(f"{delta.expert}: {name} diverged to NaN or infinity: lower the learning rate")
        parts[f"q/{name}"], parts[f"s/{name}"] = _quantise(value)
    metadata = canonical.encode({field.name: getattr(header, field.name) for field in fields(Header)})
    payload = tensors.serialize(parts, metadata.decode("utf-8"))
    return MAGIC + key.sign(payload, Purpose.RELEASE) + payload


def check(data: bytes, expected: Expectation) -> Release:
    """Read hostile bytes into a `Release`, or raise `ReleaseRefused` with the first check that fails.

    The order: size, form of the header, hospital, signature; then, now that we know who wrote it: campaign,
    round, plan, base, expert, parent, form of the tensors, shapes, finiteness, norm.
    """
    if len(data) > expected.max_bytes:
        raise _refused(ReleaseFault.TOO_LARGE, f"{len(data)} bytes are over {expected.max_bytes}")
    payload = data[_PAYLOAD:]
    header = _header(data, payload)
    key = expected.hospitals.get(header.hospital)
    if key is None:
        raise _refused(ReleaseFault.UNKNOWN_HOSPITAL, f"no hospital {header.hospital!r} is enrolled")
    try:
        key.verify(data[len(MAGIC) : _PAYLOAD], payload, Purpose.RELEASE)
    except SignatureInvalid as error:
        raise _refused(ReleaseFault.BAD_SIGNATURE, str(error)) from None
    _check_binding(header, expected)
    values = _tensors(payload, expected)
    _check_values(values, expected.shapes[header.expert], expected.max_norm)
    return Release(**{field.name: getattr(header, field.name) for field in fields(Header)}, tensors=values)


def _header(data: bytes, payload: bytes) -> Header:
    if not data.startswith(MAGIC) or not payload:
        raise _refused(ReleaseFault.NOT_A_RELEASE, "it does not begin as a release does")
    try:
        metadata = tensors.read_metadata(payload, len(payload)).encode("utf-8")
        values = canonical.decode(metadata, tensors.MAX_HEADER_BYTES)
    except (WireError, UnicodeEncodeError) as error:
        raise _refused(ReleaseFault.NOT_A_RELEASE, f"header: {error}") from None
    if not isinstance(values, dict) or set(values) != {field.name for field in fields(Header)}:
        raise _refused(ReleaseFault.NOT_A_RELEASE, "the header's fields are not a release's")
    header = Header(**values)
    std = header.noise_std
    well_formed = (
        all(isinstance(getattr(header, name), str) for name in ("hospital", "campaign", "expert"))
        and all(canonical.is_digest(getattr(header, name)) for name in _HASHES)
        and type(header.round) is int
        and type(std) is float
        and std >= 0
    )
    if not well_formed:
        raise _refused(ReleaseFault.NOT_A_RELEASE, "a field of the header has a wrong type")
    return header


def _check_binding(header: Header, expected: Expectation) -> None:
    plan = expected.plan
    for code, found, wanted in (
        (ReleaseFault.WRONG_CAMPAIGN, header.campaign, plan.campaign),
        (ReleaseFault.WRONG_ROUND, header.round, plan.round),
        (ReleaseFault.WRONG_PLAN, header.plan_hash, plan.hash),
        (ReleaseFault.WRONG_BASE, header.base_hash, plan.base_hash),
    ):
        if found != wanted:
            raise _refused(code, f"it is bound to {found}, not to {wanted}")
    if header.expert not in plan.experts or header.expert not in expected.shapes:
        raise _refused(ReleaseFault.UNKNOWN_EXPERT, f"this round does not train {header.expert!r}")
    if header.parent_hash != plan.experts_hash[header.expert]:
        raise _refused(ReleaseFault.WRONG_PARENT, f"it continues {header.parent_hash}, not the round's start")


def _tensors(payload: bytes, expected: Expectation) -> dict[str, NDArray[np.float32]]:
    try:
        parts, _ = tensors.deserialize(payload, expected.max_bytes)
    except WireError as error:
        raise _refused(ReleaseFault.NOT_A_RELEASE, str(error)) from None
    names = {name[2:] for name in parts if name.startswith("q/")}
    if set(parts) != {f"{kind}/{name}" for name in names for kind in "qs"}:
        raise _refused(ReleaseFault.NOT_A_RELEASE, "values and scales don't pair up")
    values = {}
    for name in sorted(names):
        levels, scales = parts[f"q/{name}"], parts[f"s/{name}"]
        if levels.dtype != np.int8 or scales.dtype != np.float32:
            raise _refused(ReleaseFault.NOT_A_RELEASE, f"{name} is not int8 with float32 scales")
        if scales.shape != _scales_shape(levels.shape):
            raise _refused(ReleaseFault.WRONG_SHAPE, f"{name} has scales of shape {scales.shape}")
        with np.errstate(over="ignore", invalid="ignore"):
            values[name] = levels.astype(np.float32) * scales
    return values


def _check_values(
    values: Mapping[str, NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]], max_norm: float
) -> None:
    found = {name: value.shape for name, value in values.items()}
    if found != {name: tuple(shape) for name, shape in shapes.items()}:
        raise _refused(ReleaseFault.WRONG_SHAPE, "its tensors are not the expert's")
    if not all(np.isfinite(value).all() for value in values.values()):
        raise _refused(ReleaseFault.NOT_FINITE, "it holds NaN or infinity")
    norm = math.sqrt(sum(float(np.square(value, dtype=np.float64).sum()) for value in values.values()))
    if norm > max_norm:
        raise _refused(ReleaseFault.NORM_TOO_LARGE, f"its norm {norm:.4g} is over {max_norm:.4g}")


def _scales_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, broadcastable against the tensor's, of its scales."""
    if len(shape) != 2:
        return (1,) * len(shape)
    return (shape[0], 1) if shape[0] <= shape[1] else (1, shape[1])


def _quantise(value: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round to 255 levels, symmetric about zero: |value - levels * scale| <= scale / 2 = max|slice| / 254."""
    shape = _scales_shape(value.shape)
    together = tuple(axis for axis, size in enumerate(shape) if size == 1)
    most = np.abs(value).max(axis=together, keepdims=True, initial=0.0).reshape(shape)
    scales = (most / _LEVELS).astype(np.float32)
    safe = np.where(scales > 0, scales, np.float32(1))
    levels = np.clip(np.rint(value / safe), -_LEVELS, _LEVELS)
    return np.where(scales > 0, levels, 0).astype(np.int8), scales


def _refused(code: ReleaseFault, message: str) -> ReleaseRefused:
    return ReleaseRefused(code, message)

"""The tensors of a release: int8 levels and float32 scales in one safetensors file, whose metadata is the header.

Tensor t is `q/t` (int8, t's shape) and `s/t` (float32 scales), as `privacy.quantise` makes them.  One content has one byte
string: whatever else would be read as the same could carry a message in its bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy import tensors
from privacy.codes import ReleaseFault
from privacy.errors import ReleaseRefused, WireError
from privacy.quantise import dequantise, is_canonical, quantise, scales_shape

Shape = tuple[int, ...]

_BLOCK = 1 << 14  # values: their squares stay in the processor's cache


def pack(change: Mapping[str, NDArray[np.float32]], header: str, nonce: str) -> bytes:
    """Quantise finite tensors and write them with their header; the nonce is the seed of the rounding."""
    parts: dict[str, NDArray[Any]] = {}
    for name, value in change.items():
        parts[f"q/{name}"], parts[f"s/{name}"] = quantise(value, f"{nonce}/{name}")
    return tensors.serialize(parts, header)


def unpack(payload: bytes, shapes: Mapping[str, Shape], limit: int) -> dict[str, NDArray[np.float32]]:
    """The change in hostile bytes of at most `limit` bytes, dequantised; it may hold infinity or NaN.

    Raises `ReleaseRefused` where the bytes are not those that `pack` writes for tensors of these shapes.
    """
    try:
        parts, metadata = tensors.deserialize(payload, limit)
    except WireError as error:
        raise _refused(ReleaseFault.NOT_A_RELEASE, str(error)) from None
    if not tensors.is_as_written(payload, parts, metadata):
        raise _refused(ReleaseFault.NOT_A_RELEASE, "its bytes are not those that its contents are written as")
    if set(parts) != {f"{kind}/{name}" for name in shapes for kind in "qs"}:
        raise _refused(ReleaseFault.NOT_A_RELEASE, "it holds other tensors than its header says")
    values = {}
    for name, shape in sorted(shapes.items()):
        levels, scales = parts[f"q/{name}"], parts[f"s/{name}"]
        if levels.dtype != np.int8 or scales.dtype != np.float32:
            raise _refused(ReleaseFault.WRONG_DTYPE, f"{name} is not int8 with float32 scales")
        if levels.shape != shape or scales.shape != scales_shape(shape):
            raise _refused(ReleaseFault.WRONG_SHAPE, f"{name} is {levels.shape} with scales {scales.shape}")
        values[name] = dequantise(levels, scales)
        if not is_canonical(levels, scales):
            raise _refused(
                ReleaseFault.NOT_A_RELEASE, f"{name} holds levels or scales that no value is rounded to"
            )
    return values


def norm_of(values: Iterable[NDArray[np.float32]]) -> float:
    """The L2 norm of a change, to one part in 10^5; infinite or NaN exactly where a value is.

    It decides what is taken in, so it comes out alike on every machine: not so numpy's dot, whose order of sums is the
    processor's (and whose threads spin where others work).
    """
    flat = [value.reshape(-1) for value in values]
    square = sum(_square(value) for value in flat)
    if not math.isfinite(square):  # perhaps no value is infinite, only its square: none is in float64
        square = sum(_square(value.astype(np.float64)) for value in flat)
    return math.sqrt(square)


def _square(value: NDArray[np.float32] | NDArray[np.float64]) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        blocks = (value[start : start + _BLOCK] for start in range(0, value.size, _BLOCK))
        return sum(float((block * block).sum()) for block in blocks)


def _refused(code: ReleaseFault, message: str) -> ReleaseRefused:
    return ReleaseRefused(code, message)

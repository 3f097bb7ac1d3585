"""An expert's state on the wire: safetensors, float32, finite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from privacy import canonical
from privacy.errors import WireError

MAX_HEADER_BYTES = 1 << 20
_METADATA = "__metadata__"
_DTYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I8": np.dtype("i1")}
_NAMES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in _DTYPES.items()}


def encode(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Encode an expert's state; equal states give equal bytes.  Raises `WireError` as `decode` does."""
    for name, value in tensors.items():
        _check_float32(name, value)
    return serialize(tensors, None)


def decode(data: bytes, limit: int) -> dict[str, NDArray[np.float32]]:
    """Read hostile bytes of at most `limit` bytes: name -> float32 array (a copy, writable).

    Raises `WireError` for anything but a whole safetensors file of finite float32 tensors, no metadata.
    """
    tensors, metadata = deserialize(data, limit)
    if metadata:
        raise WireError("an expert state carries no metadata")
    for name, value in tensors.items():
        _check_float32(name, value)
    return tensors


def digest(data: bytes) -> str:
    """The hash by which plans and releases name these bytes."""
    return canonical.digest(data)


def serialize(tensors: Mapping[str, NDArray[Any]], metadata: str | None) -> bytes:
    """Write float32 and int8 arrays, with one string of metadata.  Deterministic."""
    arrays = {}
    for name, value in tensors.items():
        if name == _METADATA:
            raise WireError(f"a tensor can't be named {_METADATA}: the format keeps that name")
        dtype = value.dtype.newbyteorder("<")
        if dtype not in _NAMES:
            raise WireError(f"tensor {name!r} is {value.dtype}; only float32 and int8 travel")
        arrays[name] = np.require(value, dtype, "C")
    return b"".join([_header(arrays, metadata), *(arrays[name].data for name in _in_order(arrays))])


def is_as_written(data: bytes, tensors: Mapping[str, NDArray[Any]], metadata: str) -> bool:
    """Whether `data`, which `deserialize` read as these, is what `serialize` writes for them.

    It is where its header is: that says where every byte of the rest belongs.
    """
    return data.startswith(_header(tensors, metadata))


def _header(tensors: Mapping[str, NDArray[Any]], metadata: str | None) -> bytes:
    """All that comes before the tensors' bytes, as the safetensors library writes it."""
    table: dict[str, Any] = {} if metadata is None else {_METADATA: {"fedpath": metadata}}
    end = 0
    for name in _in_order(tensors):
        value = tensors[name]
        begin, end = end, end + value.nbytes
        table[name] = {
            "dtype": _NAMES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _in_order(tensors: Mapping[str, NDArray[Any]]) -> list[str]:
    """Wide types first, then by name."""
    return sorted(tensors, key=lambda name: (-tensors[name].itemsize, name.encode("utf-8")))


def deserialize(data: bytes, limit: int) -> tuple[dict[str, NDArray[Any]], str]:
    """Read what `serialize` writes from hostile bytes: the arrays (copies) and the metadata ("" for none)."""
    metadata = read_metadata(data, limit)
    try:
        parts: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise WireError(f"not safetensors: {error}") from error
    tensors: dict[str, NDArray[Any]] = {}
    for name, part in parts:
        dtype = _DTYPES.get(part["dtype"])
        if dtype is None:
            raise WireError(f"tensor {name!r} is {part['dtype']}; only float32 and int8 travel")
        try:
            tensors[name] = np.frombuffer(part["data"], dtype).reshape(part["shape"])  # a bytearray, ours
        except (ValueError, OverflowError) as error:
            raise WireError(f"tensor {name!r} has a shape of no use: {error}") from error
    return tensors, metadata


def read_metadata(data: bytes, limit: int) -> str:
    """The metadata string of hostile bytes, reading the header only ("" for none).  Raises `WireError`."""
    if len(data) > limit:
        raise WireError(f"{len(data)} bytes are over the limit of {limit}")
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise WireError("not safetensors: the header is cut off or too long")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not safetensors: {error}") from error
    if not isinstance(header, dict):
        raise WireError("not safetensors: the header is no table")
    metadata = header.get(_METADATA, {})
    if not isinstance(metadata, dict) or not set(metadata) <= {"fedpath"}:
        raise WireError("unknown metadata")
    text = metadata.get("fedpath", "")
    if not isinstance(text, str):
        raise WireError("metadata must be a string")
    return text


def _check_float32(name: str, value: NDArray[Any]) -> None:
    if value.dtype != np.float32:
        raise WireError(f"tensor {name!r} is {value.dtype}; an expert state is float32")
    if not np.isfinite(value).all():
        raise WireError(f"tensor {name!r} holds NaN or infinity")

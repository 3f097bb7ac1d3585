"""Named byte strings in one message: what travels on the agent's socket, and nothing else.

Layout, little-endian: magic `FPE1`, u32 count, then for each name in order: u16 length of the name, u64
length of the value, the name in UTF-8, the value.  Names are unique and
sorted, so equal contents have equal bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from privacy.errors import WireError

_MAGIC = b"FPE1"
_COUNT = struct.Struct("<I")
_LENGTHS = struct.Struct("<HQ")
_MAX_NAME = 200


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Join named byte strings.  Raises `WireError` for an empty or overlong name."""
    out = [_MAGIC, _COUNT.pack(len(parts))]
    for name, value in sorted((name.encode("utf-8"), value) for name, value in parts.items()):
        _check_name(name)
        out += [_LENGTHS.pack(len(name), len(value)), name, value]
    return b"".join(out)


def unpack(data: bytes, limit: int) -> dict[str, bytes]:
    """Read hostile bytes of at most `limit` bytes.  Raises `WireError` for what `pack` does not write."""
    if len(data) > limit:
        raise WireError(f"a message of {len(data)} bytes is over the limit of {limit}")
    start = len(_MAGIC) + _COUNT.size
    if len(data) < start or not data.startswith(_MAGIC):
        raise WireError("not a FedPath message")
    (count,) = _COUNT.unpack_from(data, len(_MAGIC))
    parts: dict[str, bytes] = {}
    at, last = start, b""
    for _ in range(count):
        if at + _LENGTHS.size > len(data):
            raise WireError("the message is cut off")
        name_length, value_length = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        if name_length + value_length > len(data) - at:
            raise WireError("the message is cut off")
        name = data[at : at + name_length]
        _check_name(name)
        if name <= last:
            raise WireError("the message's names are not unique and sorted")
        at, last = at + name_length, name
        parts[_text(name)] = data[at : at + value_length]
        at += value_length
    if at != len(data):
        raise WireError("the message has bytes after its end")
    return parts


def _check_name(name: bytes) -> None:
    if not 1 <= len(name) <= _MAX_NAME:
        raise WireError(f"a part's name must have 1 to {_MAX_NAME} bytes, not {len(name)}")


def _text(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError("a part's name is not UTF-8") from error

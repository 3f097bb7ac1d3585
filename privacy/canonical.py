"""Canonical JSON: one value, one byte string, so that hashes and signatures mean something."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from privacy.errors import WireError

MAX_DEPTH = 64  # of tables and lists in one another, in what is read


def encode(value: Any) -> bytes:
    """Encode a JSON value with sorted keys, no white space, UTF-8.

    Raises `ValueError` for NaN and infinities and `TypeError` for anything that is not JSON, a key that is
    not a string included: what can't be read back the same can't be signed.
    """
    _refuse_odd_keys(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8")


def decode(data: bytes, limit: int) -> Any:
    """Read hostile bytes that must be canonical JSON of at most `limit` bytes, nested at most `MAX_DEPTH` deep.

    `encode(decode(data)) == data` always holds, so duplicate keys, white space and second spellings of a
    number are refused.  Raises `WireError`.
    """
    if len(data) > limit:
        raise WireError(f"JSON of {len(data)} bytes is over the limit of {limit}")
    try:
        value = json.loads(data.decode("utf-8"))
        again = encode(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    if _deeper(value, MAX_DEPTH):
        raise WireError(f"tables and lists are nested more than {MAX_DEPTH} deep")
    if again != data:
        raise WireError("not canonical JSON: keys must be sorted and unique, without white space")
    return value


def digest(data: bytes) -> str:
    """SHA-256 of `data`, 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def is_digest(value: object) -> bool:
    """Whether `value` is 64 lower-case hex digits."""
    return isinstance(value, str) and len(value) == 64 and all(c in "0123456789abcdef" for c in value)


def _deeper(value: Any, levels: int) -> bool:
    """Whether `value` holds tables or lists nested more than `levels` deep; looks no deeper than that."""
    if not isinstance(value, (dict, list)):
        return False
    return levels == 0 or any(
        _deeper(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value)
    )


def _refuse_odd_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a JSON key must be a string, not {key!r}")
            _refuse_odd_keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_odd_keys(item)

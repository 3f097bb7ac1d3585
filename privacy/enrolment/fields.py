"""What may stand in an invitation, a request and a kit, and how hostile bytes of one are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from privacy import canonical
from privacy.errors import EnrolmentFileError, KeyFileError, WireError
from privacy.forms import Form, each, hexadecimal, odd, record
from privacy.keys import PublicKey
from privacy.ledger.entries import read_time

# A name or an IPv4 address, or an IPv6 address in brackets; never what a command could take for an option.
_ADDRESS = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]):([1-9][0-9]{0,4})")

_LONGEST_PROOF = 256  # hex digits


def address(value: object) -> bool:
    """The SuperLink's "host:port"."""
    found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    return found is not None and int(found.group(1)) < 65536


def time(value: object) -> bool:
    """A moment as books write it."""
    try:
        return isinstance(value, str) and bool(read_time(value))
    except ValueError:
        return False


def text_of(limit: int) -> Form:
    """A text of at most so many letters."""
    return lambda value: isinstance(value, str) and len(value) <= limit


def exactly(wanted: str) -> Form:
    """This text and no other."""
    return lambda value: value == wanted


def proof(value: object) -> bool:
    """A signature, in hex."""
    return hexadecimal(value) and len(str(value)) <= _LONGEST_PROOF


def handovers(value: object) -> bool:
    """A list of keys' handovers (`privacy.handover`)."""
    return each(record({"old": canonical.is_digest, "new": canonical.is_digest, "proof": proof}))(value)


def key(value: str) -> PublicKey:
    """The key of a field that `canonical.is_digest` took.  Raises `EnrolmentFileError`."""
    try:
        return PublicKey(bytes.fromhex(value))
    except KeyFileError as error:
        raise EnrolmentFileError(str(error)) from error


def moment(value: str) -> datetime:
    """The moment of a field that `time` took."""
    return read_time(value)


def read(path: Path, limit: int, what: str) -> bytes:
    """A file of at most `limit` bytes.  Raises `EnrolmentFileError`; `what` is what should be there."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise EnrolmentFileError(f"{path}: {error.strerror}: name the file of the {what}") from error
    if len(data) > limit:
        raise EnrolmentFileError(f"{path}: over {limit} bytes, so it is no {what}: ask for it again")
    return data


def parse(data: bytes, limit: int, what: str, fields: Mapping[str, Form]) -> dict[str, Any]:
    """Hostile bytes as a table of exactly these fields.  Raises `EnrolmentFileError` that names the wrong ones."""
    try:
        values = canonical.decode(data.removesuffix(b"\n"), limit)
    except WireError as error:
        raise EnrolmentFileError(
            f"is no {what}, or changed on the way: {error}: ask for it again, as a file"
        ) from error
    if not isinstance(values, dict):
        raise EnrolmentFileError(f"is no {what}: no table: ask for it again, as a file")
    if wrong := odd(values, fields):
        raise EnrolmentFileError(
            f"is no {what} of this version, or changed on the way, at {', '.join(wrong)[:200]}: ask for it again"
        )
    return values


def write(values: Mapping[str, Any]) -> bytes:
    """The bytes of a file that `parse` reads: canonical JSON, and an end of line."""
    return canonical.encode(values) + b"\n"

"""A record too long for one entry of a book: cut when it is written, whole again when it is read.

    part, part, ..., part, entry: its body says how many parts stand before it, and the hash of what they make together

The parts are the record's canonical JSON, in pieces. So no entry is longer than a reader of hostile books must take in at
once, however many hospitals a round has: docs/adr/0028.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from privacy import canonical
from privacy.errors import LedgerError, WireError
from privacy.ledger.entries import Entry

PART = "part"
# Of a record in one entry. A letter takes at most 4 bytes, JSON's escapes included: half of what an entry's body may have.
LETTERS = 1 << 17
MAX_RECORD = 64 << 20  # bytes


def cut(kind: str, body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Kind and body of each entry that tells of this record: of one, where it is short enough.

    Raises `LedgerError` for a record that no reader would put together.
    """
    data = canonical.encode(body)
    if len(data) > MAX_RECORD:
        raise LedgerError(
            f"a {kind} record of {len(data)} bytes is over the {MAX_RECORD} that a book may hold"
        )
    text = data.decode()
    if len(text) <= LETTERS:
        yield kind, body
        return
    pieces = [text[start : start + LETTERS] for start in range(0, len(text), LETTERS)]
    yield from ((PART, {"text": piece}) for piece in pieces)
    yield kind, {"parts": len(pieces), "sha256": canonical.digest(data)}


def whole(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The records of a verified book: entries with their whole body, without the parts.

    An entry that was put together keeps its place and its hash, which is that of the entry as it was written. Parts that
    don't make the record of the entry after them are given as they are, and so is that entry: no reader knows such a kind
    or such a form.
    """
    parts: list[Entry] = []
    for entry in entries:
        if entry.kind == PART:
            parts.append(entry)
            continue
        body = _together(parts, entry.body) if parts else None
        if body is None:
            yield from parts
            yield entry
        else:
            yield replace(entry, body=body)
        parts = []
    yield from parts


def _together(parts: Sequence[Entry], body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record; None where these parts are not its own."""
    pieces = [text for part in parts if isinstance(text := part.body.get("text"), str)]
    data = "".join(pieces).encode()
    if len(pieces) < len(parts) or dict(body) != {"parts": len(parts), "sha256": canonical.digest(data)}:
        return None
    try:
        record = canonical.decode(data, MAX_RECORD)
    except WireError:
        return None
    return record if isinstance(record, dict) else None

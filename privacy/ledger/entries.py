"""A ledger's entries: each signed, and each naming the hash of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from privacy import canonical
from privacy.errors import LedgerError, SignatureInvalid
from privacy.keys import PrivateKey, PublicKey, Purpose

START = "0" * 64  # what the first entry names as the one before


class Kind(StrEnum):
    """What an entry records."""

    POLICY = "policy"
    RESERVATION = "reservation"
    SPEND = "spend"
    VOID = "void"
    RECEIPT = "receipt"
    REFUSAL = "refusal"


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.  `hash` covers all but `signature`; `signature` covers what `hash` covers."""

    sequence: int
    kind: str
    at: str
    body: Mapping[str, Any]
    previous: str
    hash: str
    signature: bytes

    def content(self) -> bytes:
        """The bytes that are hashed and signed."""
        return _content(self.sequence, self.kind, self.at, self.body, self.previous)


def follow(last: Entry | None, kind: str, at: datetime, body: Mapping[str, Any], key: PrivateKey) -> Entry:
    """The entry of `kind` (a `Kind`) that comes after `last` (None: the first), signed with `key`."""
    sequence = 1 if last is None else last.sequence + 1
    previous = START if last is None else last.hash
    when = at.isoformat(timespec="milliseconds")
    content = _content(sequence, str(kind), when, body, previous)
    return Entry(
        sequence,
        str(kind),
        when,
        body,
        previous,
        canonical.digest(content),
        key.sign(content, Purpose.LEDGER),
    )


def check_chain(entries: Iterable[Entry], public_key: PublicKey, last: Entry | None = None) -> None:
    """Raise `LedgerError`, naming the first entry that does not follow `last` or is not signed by the key."""
    for entry in entries:
        sequence, previous = (1, START) if last is None else (last.sequence + 1, last.hash)
        if entry.sequence != sequence or entry.previous != previous:
            raise LedgerError(
                f"ledger entry {entry.sequence} does not follow the one before it: "
                "entries were removed, added or reordered; restore the ledger from a backup"
            )
        content = entry.content()
        if canonical.digest(content) != entry.hash:
            raise LedgerError(
                f"ledger entry {entry.sequence} was changed after it was written; "
                "restore the ledger from a backup"
            )
        try:
            public_key.verify(entry.signature, content, Purpose.LEDGER)
        except SignatureInvalid as error:
            raise LedgerError(f"ledger entry {entry.sequence}: {error}") from error
        last = entry


def _content(sequence: int, kind: str, at: str, body: Mapping[str, Any], previous: str) -> bytes:
    return canonical.encode(
        {"sequence": sequence, "kind": kind, "at": at, "body": body, "previous": previous}
    )

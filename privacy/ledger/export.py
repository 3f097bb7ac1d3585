"""A book in one file, to hand to an auditor: a hospital's ledger, or the coordinator's journal.

JSON lines, each canonical (`privacy.canonical`): first a head, signed by the key that holds the book (which book it
is, how many entries, the last one's hash, when), then the entries.  The signed head shows a file that was cut short.
Release bytes are not in it: their hashes are, in a ledger's spends and a journal's verdicts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy import canonical
from privacy.errors import LedgerError, SignatureInvalid, WireError
from privacy.keys import PrivateKey, PublicKey, Purpose
from privacy.ledger.account import Account
from privacy.ledger.database import MAX_BODY
from privacy.ledger.entries import FORMAT, Entry
from privacy.ledger.reading import Book

LEDGER = "fedpath-ledger"
JOURNAL = "fedpath-journal"
NAMES = (LEDGER, JOURNAL)
_MAX_LINE = 2 * MAX_BODY
_HEAD = {"name": str, "format": int, "entries": int, "head": str, "at": str, "signature": str}


@dataclass(frozen=True)
class Export:
    """A file as it was read; nothing of it is verified but its form.

    `damage` says of each line that could not be read what is wrong with it; `entries` are all others.
    """

    head: dict[str, Any]
    entries: tuple[Entry, ...]
    damage: tuple[str, ...] = ()

    def signed_by(self, key: PublicKey) -> bool:
        """Whether `key` signed the head."""
        head = {name: value for name, value in self.head.items() if name != "signature"}
        try:
            key.verify(bytes.fromhex(self.head["signature"]), canonical.encode(head), Purpose.EXPORT)
        except (ValueError, SignatureInvalid):
            return False
        return True

    def whole(self) -> bool:
        """Whether the entries are as many as the head says, up to the one that it names."""
        last = self.entries[-1] if self.entries else None
        return last is not None and (self.head["entries"], self.head["head"]) == (last.sequence, last.hash)


def write_export(path: Path, entries: Sequence[Entry], key: PrivateKey, at: str, name: str = LEDGER) -> None:
    """Write a book's verified `entries` to a new file, signed with the key that holds the book.

    Raises `LedgerError` where there is nothing to write, or where the file exists or can't be written.
    """
    if not entries:
        raise LedgerError("there are no entries yet: there is nothing to export")
    head = {"name": name, "format": FORMAT, "entries": len(entries), "head": entries[-1].hash, "at": at}
    signature = key.sign(canonical.encode(head), Purpose.EXPORT).hex()
    lines = [canonical.encode({**head, "signature": signature}), *map(_line, entries)]
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(line + b"\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise LedgerError(
            f"{path}: {error.strerror}: name a new file in a folder that can be written"
        ) from error


def read_export(path: Path) -> Export:
    """Read hostile bytes.  Raises `LedgerError`, which does not name the file, where it is no export, or of another format."""
    try:
        with path.open("rb") as file:
            head = _head(file.readline(_MAX_LINE + 1))
            if head["format"] != FORMAT:
                raise LedgerError(
                    f"it is of format {head['format']}, and this fedpath reads format {FORMAT}: use the one "
                    "that wrote it"
                )
            entries: list[Entry] = []
            damage: list[str] = []
            number = 1
            while line := file.readline(_MAX_LINE + 1):
                number += 1
                try:
                    entries.append(_entry(_values(line, number), number))
                except LedgerError as error:
                    damage.append(str(error))
    except OSError as error:
        raise LedgerError(
            f"{error.strerror}: give a file that `fedpath-hospital export` or `fedpath-consortium export` wrote"
        ) from error
    return Export(head, tuple(entries), tuple(damage))


def verify_export(export: Export, trusted: PublicKey) -> Account:
    """What a ledger's entries amount to, where all is in order under `trusted`, any key that it ever had.

    Raises `LedgerError`, naming the first line or entry that is wrong; or the head, where the file was cut short or
    added to, or was not written by the key that holds the ledger.  `privacy.audit` lists all that is wrong.
    """
    if export.damage:
        raise LedgerError(export.damage[0])
    book = Book.of(export.entries, trusted)
    if not export.signed_by(book.signer):
        raise LedgerError("the export's head was not signed by the key that holds the ledger")
    if not export.whole():
        raise LedgerError(
            f"the export should hold {export.head['entries']} entries and holds {len(export.entries)}: it was cut "
            "short or added to; ask for the whole file"
        )
    return book.account


def _line(entry: Entry) -> bytes:
    fields = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
    return canonical.encode({**fields, "signature": entry.signature.hex()})


def _head(line: bytes) -> dict[str, Any]:
    try:
        head = _values(line, 1)
    except LedgerError:
        head = {}
    if {name: type(value) for name, value in head.items()} != _HEAD or head["name"] not in NAMES:
        raise LedgerError(
            "it is no export of a ledger or journal, or its first line was damaged: ask for it again"
        )
    return head


def _values(line: bytes, number: int) -> dict[str, Any]:
    try:
        values = canonical.decode(line.removesuffix(b"\n"), _MAX_LINE)
    except WireError as error:
        raise LedgerError(f"line {number} of the export is damaged: {error}") from error
    if not isinstance(values, dict):
        raise LedgerError(f"line {number} of the export is damaged: it is no table")
    return values


_ENTRY = {
    "sequence": int,
    "kind": str,
    "at": str,
    "body": dict,
    "previous": str,
    "hash": str,
    "signature": str,
    "format": int,
}


def _entry(values: dict[str, Any], number: int) -> Entry:
    if {name: type(value) for name, value in values.items()} != _ENTRY:
        raise LedgerError(f"line {number} of the export is damaged: it is no entry")
    try:
        return Entry(**{**values, "signature": bytes.fromhex(values["signature"])})
    except ValueError as error:
        raise LedgerError(f"line {number} of the export is damaged: {error}") from error

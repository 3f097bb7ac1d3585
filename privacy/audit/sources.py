"""Files as an auditor has them: exports of both sides, told apart by their heads, and a ledger's SQLite file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from privacy.errors import AuditError, LedgerError
from privacy.ledger.database import Database
from privacy.ledger.entries import Entry
from privacy.ledger.export import LEDGER, Export, read_export

_SQLITE = b"SQLite format 3\0"


class Side(StrEnum):
    """Whose book it is."""

    HOSPITAL = "hospital"
    COORDINATOR = "coordinator"


@dataclass(frozen=True)
class Source:
    """One book as it was read; nothing of it is verified.

    `name` is what findings call it.  `damage` says what could not be read.  `side` is None where nothing could: then
    there are no entries, and nobody knows whose book it is.  `export` is None where a database was
    read; then `kept` names the reservations under which it keeps releases.
    """

    name: str
    side: Side | None
    entries: tuple[Entry, ...]
    damage: tuple[str, ...] = ()
    export: Export | None = None
    kept: frozenset[str] | None = None
    sha256: str | None = None  # of the file, where it is one that its owner hands over

    @property
    def written_at(self) -> str | None:
        """When the export says that it was written."""
        return None if self.export is None else str(self.export.head["at"])


def read_source(path: Path) -> Source:
    """Read a file.  Raises `AuditError`, which names it, where it is missing or can't be opened.

    One that opens and holds no book, or none that can be read on, for whatever reason, is damaged, and that is a finding.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_SQLITE))
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}: name an export, or a ledger's database") from error
    if start == _SQLITE:
        return _from_database(path)
    try:
        return replace(from_export(str(path), read_export(path)), sha256=_sha256(path))
    except (LedgerError, OSError) as error:
        return Source(str(path), None, (), (str(error),))


def from_export(name: str, export: Export) -> Source:
    """An export's book."""
    side = Side.HOSPITAL if export.head["name"] == LEDGER else Side.COORDINATOR
    return Source(name, side, export.entries, export.damage, export)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_database(path: Path) -> Source:
    try:
        with Database(path, read_only=True).transaction() as transaction:
            entries = tuple(transaction.entries_after(0))
            kept = frozenset(transaction.reservations_in_outbox())
    except Exception as error:
        text = (str(error) or repr(error)).removeprefix(f"{path}: ")
        return Source(str(path), None, (), (text,))
    return Source(str(path), Side.HOSPITAL, entries, kept=kept)

"""The consortium's journal: every decision in order, hash-chained and signed by the coordinator.

It uses the entries of `privacy.ledger`, and its export, so the auditor reads both sides' books in one way
(`privacy.audit`). What is long stands in several entries (`privacy.ledger.parts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from privacy import canonical
from privacy.errors import LedgerError, WireError
from privacy.handover import Handover
from privacy.keys import PrivateKey, PublicKey, Purpose
from privacy.ledger.entries import Entry, check_chain, first_key, follow, rotation
from privacy.ledger.export import JOURNAL, write_export
from privacy.ledger.parts import cut
from server.errors import KeyReplaced, StoreError
from server.tables import journal

MAX_BODY = 1 << 20


class Kind(StrEnum):
    """What an entry records."""

    ENROLMENT = "enrolment"
    HANDOVER = "handover"  # a hospital's new key
    ROTATION = "rotation"  # the coordinator's: the chain goes on under the new one (`privacy.ledger.entries`)
    REVOCATION = "revocation"
    CAMPAIGN = "campaign"
    ROUND = "round"
    EVALUATION = "evaluation"
    PAUSE = "pause"  # a campaign is to wait after the round under way
    RESUME = "resume"
    STOP = "stop"  # its run was ended
    PRUNING = "pruning"  # kept releases were removed, of all rounds up to one


def record(
    connection: sql.Connection, kind: Kind, at: datetime, body: Mapping[str, Any], key: PrivateKey
) -> None:
    """Add a record, in the transaction of what it tells of: one entry, or several where it is long."""
    row = connection.execute(sql.select(journal).order_by(journal.c.sequence.desc()).limit(1)).one_or_none()
    last = None if row is None else _entry(row)
    rows = []
    for part, told in cut(kind, body):
        last = follow(last, part, at, told, key)
        fields = {column.name: getattr(last, column.name) for column in journal.columns}
        rows.append({**fields, "body": canonical.encode(told)})
    connection.execute(journal.insert(), rows)


def read(connection: sql.Connection, coordinator: PublicKey) -> list[Entry]:
    """All entries, verified, as they were written (`privacy.ledger.parts.whole` makes records of them).

    Raises `StoreError`, naming the first that was changed; `KeyReplaced` where another key holds the journal by now.
    """
    query = sql.select(journal).order_by(journal.c.sequence)
    entries = [_entry(row) for row in connection.execute(query)]
    try:
        holder = check_chain(entries, first_key(entries, coordinator))
    except LedgerError as error:
        raise StoreError(f"the consortium's journal: {error}") from error
    if holder != coordinator:
        raise KeyReplaced(
            f"the consortium's journal was handed over to the key {holder.fingerprint}: finish `fedpath-consortium rotate`"
        )
    return entries


def rotate(
    connection: sql.Connection, at: datetime, consortium: str, old: PrivateKey, new: PrivateKey
) -> None:
    """Hand the journal over to a new key, under both keys' signatures, with the old one's word to the hospitals."""
    row = connection.execute(sql.select(journal).order_by(journal.c.sequence.desc()).limit(1)).one_or_none()
    handover = Handover.make(consortium, old, new.public, Purpose.SUCCESSION)
    body = rotation(None if row is None else _entry(row), old.public, new)
    record(
        connection,
        Kind.ROTATION,
        at,
        {**body, "consortium": consortium, "handover": handover.proof.hex()},
        old,
    )


def successions(entries: Sequence[Entry]) -> list[Handover]:
    """How the coordinator's key came from its first one, as hospitals are told."""
    bodies = [entry.body for entry in entries if entry.kind == Kind.ROTATION]
    return [
        Handover.from_dict(
            body["consortium"], {"old": body["old"], "new": body["new"], "proof": body["handover"]}
        )
        for body in bodies
    ]


def export(path: Path, entries: Sequence[Entry], key: PrivateKey, at: datetime) -> None:
    """Write verified `entries` (`read`) to a new file, under a head that the coordinator signs.

    Raises `LedgerError` where there is nothing to write, or where the file exists or can't be written.
    """
    write_export(path, entries, key, at.isoformat(timespec="seconds"), JOURNAL)


def _entry(row: sql.Row[Any]) -> Entry:
    try:
        body = canonical.decode(row.body, MAX_BODY)
    except (WireError, AttributeError, TypeError) as error:
        raise StoreError(f"journal entry {row.sequence} was changed after it was written: {error}") from error
    return Entry(row.sequence, row.kind, row.at, body, row.previous, row.hash, row.signature)

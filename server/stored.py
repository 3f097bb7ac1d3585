"""What every part of the store (`server.store`) stands on: the database, the coordinator's key, the time and the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from privacy.keys import PrivateKey
from privacy.ledger.entries import written
from server import journal
from server.database import Database
from server.journal import Kind


class Stored:
    """A part of the store: what it changes and what the journal says of it are one transaction."""

    def __init__(self, database: Database, key: PrivateKey, now: Callable[[], datetime]) -> None:
        self._database = database
        self._key = key
        self._now = now

    def _record(self, connection: sql.Connection, kind: Kind, body: Mapping[str, Any]) -> None:
        journal.record(connection, kind, self._now(), body, self._key)

    def _when(self) -> str:
        return written(self._now())

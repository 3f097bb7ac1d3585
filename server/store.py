"""What the consortium remembers. A round stands when its one transaction ended, and not a moment before.

Each part has a file: who is enrolled (`membership`), campaigns, rounds, evaluations and receipts (`stored_...`).
Order: `begin` a campaign, `open_round` (its plan is kept, so that every asking has the same bytes), `asked`
and `answered` as it goes (for eyes only), `commit_round` with states, verdicts, receipts and the journal's
entry at once. Every decision is an entry of the journal: hash-chained and signed by the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from privacy.handover import Handover
from privacy.keys import PrivateKey
from privacy.ledger.entries import Entry
from server import journal, resigned
from server.aside import Aside
from server.blobs import Blobs
from server.database import Database
from server.kept import Kept
from server.membership import Membership
from server.stored_campaigns import StoredCampaigns
from server.stored_evaluations import StoredEvaluations
from server.stored_receipts import StoredReceipts
from server.stored_rounds import StoredRounds
from server.stored_steering import StoredSteering


class Store(Membership, StoredCampaigns, StoredSteering, StoredRounds, StoredEvaluations, StoredReceipts):
    """The consortium's database and expert files. Opening it verifies the journal (`StoreError`)."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        aside: Aside,
        kept: Kept,
        key: PrivateKey,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__(database, key, now)
        self._blobs = blobs
        self._aside = aside
        self._kept = kept
        self.journal()

    def journal(self) -> list[Entry]:
        """All entries, verified. Raises `StoreError`, naming the first that was changed."""
        with self._database.transaction() as connection:
            return journal.read(connection, self._key.public)

    def successions(self) -> list[Handover]:
        """How the coordinator's key came from its first one, as hospitals are told."""
        return journal.successions(self.journal())

    def rotate(self, consortium: str, new: PrivateKey) -> None:
        """Hand the journal over to a new key; what the old one signed and hospitals are still to get is signed anew.

        No campaign may run meanwhile.
        """
        with self._database.transaction() as connection:
            journal.rotate(connection, self._now(), consortium, self._key, new)
            resigned.sign_anew(connection, self._key.public, new)
        self._key = new

    def read(self, query: sql.Select[Any]) -> list[dict[str, Any]]:
        """Rows for `server.status`."""
        with self._database.transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

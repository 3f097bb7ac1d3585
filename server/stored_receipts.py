"""Receipts as they are kept: made with the round that they are about, and owed until the hospital has taken them."""

from __future__ import annotations

import sqlalchemy as sql

from server import tables
from server.records import Owed
from server.stored import Stored


class StoredReceipts(Stored):
    """What each hospital is still to get."""

    def owed(self) -> dict[str, Owed]:
        """The oldest receipt that each hospital has not taken yet."""
        table, rounds = tables.receipts, tables.rounds
        of_round = (rounds.c.campaign == table.c.campaign) & (rounds.c.number == table.c.number)
        query = sql.select(table).join(rounds, of_round).where(table.c.delivered_at.is_(None))
        query = query.order_by(rounds.c.committed_at, table.c.campaign, table.c.number)
        with self._database.transaction() as connection:
            oldest: dict[str, Owed] = {}
            for row in connection.execute(query):
                if row.hospital not in oldest:
                    oldest[row.hospital] = Owed(row.campaign, row.number, row.hospital, row.data)
            return oldest

    def delivered(self, owed: Owed, answer: str) -> None:
        """A hospital has taken this receipt; `answer` says whether it was kept or refused."""
        table = tables.receipts
        where = (table.c.campaign == owed.campaign) & (table.c.number == owed.number)
        this = table.update().where(where & (table.c.hospital == owed.hospital))
        with self._database.transaction() as connection:
            connection.execute(this.values(delivered_at=self._when(), answer=answer))

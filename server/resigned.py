"""What a replaced key signed and hospitals are still to get: rounds and evaluations that are open, receipts that are owed."""

from __future__ import annotations

import sqlalchemy as sql

from privacy.evaluation import NoisedEvaluation
from privacy.keys import PrivateKey, PublicKey
from privacy.plan import Plan
from privacy.receipt import Receipt
from server import tables


def sign_anew(connection: sql.Connection, old: PublicKey, new: PrivateKey) -> None:
    """Sign all of it with the new key, the same bytes: hospitals know what they answered by these."""
    rounds = tables.rounds
    for row in connection.execute(sql.select(rounds).where(rounds.c.committed_at.is_(None))):
        this = (rounds.c.campaign == row.campaign) & (rounds.c.number == row.number)
        signature = Plan.from_bytes(row.plan).sign(new)
        connection.execute(rounds.update().where(this).values(signature=signature))
    asked = tables.noised_evaluations
    for row in connection.execute(sql.select(asked).where(asked.c.committed_at.is_(None))):
        this = (asked.c.campaign == row.campaign) & (asked.c.point == row.point)
        signature = NoisedEvaluation.from_bytes(row.request).sign(new)
        connection.execute(asked.update().where(this).values(signature=signature))
    owed = tables.receipts
    for row in connection.execute(sql.select(owed).where(owed.c.delivered_at.is_(None))):
        this = (owed.c.campaign == row.campaign) & (owed.c.number == row.number)
        data = Receipt.open(row.data, old).sign(new)
        connection.execute(owed.update().where(this & (owed.c.hospital == row.hospital)).values(data=data))

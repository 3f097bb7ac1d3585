"""Who is invited: reads and writes inside a transaction of the store.

The store knows an invitation by its ticket's public half: what is kept here lets nobody answer it.
"""

from __future__ import annotations

import sqlalchemy as sql

from privacy.keys import PublicKey
from privacy.ledger.entries import read_time
from server.errors import EnrolmentError
from server.records import Invited
from server.tables import invitations as table


def add(connection: sql.Connection, ticket: PublicKey, invited: Invited, at: str) -> None:
    """Invite. An earlier invitation of the same hospital that nobody answered is void from now on."""
    connection.execute(
        table.delete().where((table.c.hospital == invited.hospital) & table.c.used_at.is_(None))
    )
    row = {
        "ticket": ticket.raw,
        "hospital": invited.hospital,
        "evaluator": invited.evaluator,
        "invited_at": at,
        "expires_at": invited.expires_at,
    }
    connection.execute(table.insert(), [row])


def find(connection: sql.Connection, ticket: PublicKey, at: str) -> Invited:
    """The invitation of this ticket.  Raises `EnrolmentError` where there is none, or it is used, void or expired at `at`."""
    row = connection.execute(sql.select(table).where(table.c.ticket == ticket.raw)).one_or_none()
    if row is None:
        raise EnrolmentError(
            f"no invitation has the ticket {ticket.fingerprint}: a later one made it void, or it was never given out; "
            "invite the hospital with `fedpath-consortium enroll`"
        )
    if row.used_at is not None:
        raise EnrolmentError(
            f"{row.hospital}'s invitation was used at {row.used_at}: one invitation enrols once; invite it anew"
        )
    if read_time(at) >= read_time(row.expires_at):
        raise EnrolmentError(
            f"{row.hospital}'s invitation expired at {row.expires_at}: invite it anew with `fedpath-consortium enroll`"
        )
    return Invited(row.hospital, row.evaluator, row.expires_at)


def use(connection: sql.Connection, ticket: PublicKey, at: str) -> None:
    """The invitation has been answered."""
    connection.execute(table.update().where(table.c.ticket == ticket.raw).values(used_at=at))


def unanswered(connection: sql.Connection) -> list[Invited]:
    """Invitations that nobody answered, by name; expired ones too."""
    rows = connection.execute(sql.select(table).where(table.c.used_at.is_(None)).order_by(table.c.hospital))
    return [Invited(row.hospital, row.evaluator, row.expires_at) for row in rows]

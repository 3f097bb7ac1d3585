"""What is committed of a campaign: reads inside a transaction of the store."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql

from server import tables
from server.errors import StoreError


def last(connection: sql.Connection, campaign: str) -> sql.Row[Any]:
    """The last committed round; round 0 is there from the beginning. Raises `StoreError` where it never began."""
    table = tables.rounds
    committed = (table.c.campaign == campaign) & table.c.committed_at.is_not(None)
    query = sql.select(table).where(committed).order_by(table.c.number.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise StoreError(f"campaign {campaign!r} was never begun")
    return row


def states_after(connection: sql.Connection, campaign: str, number: int) -> dict[str, str]:
    """Every expert's hash after a round. Raises `StoreError` where that round is not committed."""
    row = connection.execute(where(tables.rounds, campaign=campaign, number=number)).one_or_none()
    if row is None or row.committed_at is None:
        what = f"round {number} of campaign {campaign!r} is not committed"
        raise StoreError(what if number else f"campaign {campaign!r} was never begun")
    return dict(row.states)


def where(table: sql.Table, **values: object) -> sql.Select[Any]:
    """The rows with these values."""
    return sql.select(table).filter_by(**values)

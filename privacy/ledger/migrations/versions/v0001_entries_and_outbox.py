"""Entries, and the bytes of every release that was paid for."""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "entries",
        sql.Column("sequence", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("kind", sql.String, nullable=False),
        sql.Column("at", sql.String, nullable=False),
        sql.Column("body", sql.LargeBinary, nullable=False),
        sql.Column("previous", sql.String, nullable=False),
        sql.Column("hash", sql.String, nullable=False, unique=True),
        sql.Column("signature", sql.LargeBinary, nullable=False),
        sql.Column("format", sql.Integer, nullable=False),
    )
    op.create_table(
        "outbox",
        sql.Column("reservation", sql.String, primary_key=True),
        sql.Column("expert", sql.String, primary_key=True),
        sql.Column("data", sql.LargeBinary, nullable=False),
    )

"""A campaign may be asked to pause."""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column: none was asked so far."""
    with op.batch_alter_table("campaigns") as table:
        table.add_column(sql.Column("held_at", sql.String))

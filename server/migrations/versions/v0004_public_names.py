"""A hospital may say how model cards name it."""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column: none has said so."""
    with op.batch_alter_table("hospitals") as table:
        table.add_column(sql.Column("named_as", sql.String))

"""Evaluations say in which order they were committed: SQLite's hidden row number knew it, and PostgreSQL has none."""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; a store from before versions is SQLite's, and its row numbers are taken over."""
    with op.batch_alter_table("evaluations") as table:
        table.add_column(sql.Column("place", sql.Integer))
    if op.get_bind().dialect.name == "sqlite":
        op.execute("UPDATE evaluations SET place = rowid")
    with op.batch_alter_table("evaluations") as table:
        table.alter_column("place", existing_type=sql.Integer, nullable=False)
        table.create_unique_constraint("evaluations_place", ["place"])

"""The tables that stores had before there were versions.  Such a store lacks some, as it was last opened by an older fedpath:
those are made, and the others are let be.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables that are not there."""
    op.create_table(
        "hospitals",
        sql.Column("name", sql.String, primary_key=True),
        sql.Column("release_key", sql.LargeBinary, nullable=False, unique=True),
        sql.Column("supernode_key", sql.LargeBinary, nullable=False, unique=True),
        sql.Column("evaluator", sql.Boolean, nullable=False),
        sql.Column("enrolled_at", sql.String, nullable=False),
        sql.Column("experts", sql.JSON),
        sql.Column("code_hash", sql.String),
        if_not_exists=True,
    )
    op.create_table(
        "former_keys",
        sql.Column("release_key", sql.LargeBinary, primary_key=True),
        sql.Column("hospital", sql.String, sql.ForeignKey("hospitals.name"), nullable=False),
        sql.Column("replaced_at", sql.String, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "revocations",
        sql.Column("release_key", sql.LargeBinary, primary_key=True),
        sql.Column("hospital", sql.String, sql.ForeignKey("hospitals.name"), nullable=False),
        sql.Column("supernode_key", sql.LargeBinary, nullable=False),
        sql.Column("evaluator", sql.Boolean, nullable=False),
        sql.Column("revoked_at", sql.String, nullable=False),
        sql.Column("reason", sql.String, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "invitations",
        sql.Column("ticket", sql.LargeBinary, primary_key=True),
        sql.Column("hospital", sql.String, nullable=False),
        sql.Column("evaluator", sql.Boolean, nullable=False),
        sql.Column("invited_at", sql.String, nullable=False),
        sql.Column("expires_at", sql.String, nullable=False),
        sql.Column("used_at", sql.String),
        if_not_exists=True,
    )
    op.create_table(
        "campaigns",
        sql.Column("name", sql.String, primary_key=True),
        sql.Column("definition", sql.LargeBinary, nullable=False),
        sql.Column("rounds", sql.Integer, nullable=False),
        sql.Column("begun_at", sql.String, nullable=False),
        sql.Column("state", sql.String, nullable=False),
        sql.Column("run_id", sql.String, nullable=False),
        sql.Column("changed_at", sql.String, nullable=False),
        sql.Column("doing", sql.String, nullable=False),
        sql.Column("failure", sql.String),
        if_not_exists=True,
    )
    op.create_table(
        "rounds",
        sql.Column("campaign", sql.String, sql.ForeignKey("campaigns.name"), primary_key=True),
        sql.Column("number", sql.Integer, primary_key=True),
        sql.Column("stage", sql.String, nullable=False),
        sql.Column("plan", sql.LargeBinary, nullable=False),
        sql.Column("signature", sql.LargeBinary, nullable=False),
        sql.Column("opened_at", sql.String, nullable=False),
        sql.Column("attempts", sql.Integer, nullable=False),
        sql.Column("committed_at", sql.String),
        sql.Column("states", sql.JSON),
        sql.Column("seconds", sql.JSON),
        if_not_exists=True,
    )
    op.create_table(
        "asks",
        sql.Column("campaign", sql.String, primary_key=True),
        sql.Column("number", sql.Integer, primary_key=True),
        sql.Column("attempt", sql.Integer, primary_key=True),
        sql.Column("hospital", sql.String, primary_key=True),
        sql.Column("asked_at", sql.String, nullable=False),
        sql.Column("answered_at", sql.String),
        sql.Column("answer", sql.String),
        sql.Column("bytes", sql.BigInteger),
        if_not_exists=True,
    )
    op.create_table(
        "verdicts",
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("campaign", sql.String, nullable=False),
        sql.Column("number", sql.Integer, nullable=False),
        sql.Column("hospital", sql.String, nullable=False),
        sql.Column("expert", sql.String),
        sql.Column("fault", sql.String),
        sql.Column("digest", sql.String, nullable=False),
        sql.Column("bytes", sql.BigInteger, nullable=False),
        sql.Column("noise_std", sql.Float),
        if_not_exists=True,
    )
    op.create_table(
        "aggregates",
        sql.Column("campaign", sql.String, primary_key=True),
        sql.Column("number", sql.Integer, primary_key=True),
        sql.Column("expert", sql.String, primary_key=True),
        sql.Column("report", sql.JSON, nullable=False),
        sql.Column("memory", sql.String),
        if_not_exists=True,
    )
    op.create_table(
        "evaluations",
        sql.Column("campaign", sql.String, primary_key=True),
        sql.Column("point", sql.String, primary_key=True),
        sql.Column("scale", sql.String, primary_key=True),
        sql.Column("task", sql.String, primary_key=True),
        sql.Column("metric", sql.String, primary_key=True),
        sql.Column("mean", sql.Float, nullable=False),
        sql.Column("low", sql.Float, nullable=False),
        sql.Column("high", sql.Float, nullable=False),
        sql.Column("n", sql.Integer, nullable=False),
        sql.Column("further", sql.Boolean, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "noised_evaluations",
        sql.Column("campaign", sql.String, primary_key=True),
        sql.Column("point", sql.String, primary_key=True),
        sql.Column("request", sql.LargeBinary, nullable=False),
        sql.Column("signature", sql.LargeBinary, nullable=False),
        sql.Column("opened_at", sql.String, nullable=False),
        sql.Column("committed_at", sql.String),
        if_not_exists=True,
    )
    op.create_table(
        "noised_answers",
        sql.Column("campaign", sql.String, primary_key=True),
        sql.Column("point", sql.String, primary_key=True),
        sql.Column("hospital", sql.String, primary_key=True),
        sql.Column("fault", sql.String),
        sql.Column("digest", sql.String),
        sql.Column("reservation", sql.String),
        sql.Column("noise_std", sql.Float),
        sql.Column("right", sql.JSON),
        sql.Column("wrong", sql.JSON),
        if_not_exists=True,
    )
    op.create_table(
        "receipts",
        sql.Column("campaign", sql.String, primary_key=True),
        sql.Column("number", sql.Integer, primary_key=True),
        sql.Column("hospital", sql.String, primary_key=True),
        sql.Column("data", sql.LargeBinary, nullable=False),
        sql.Column("delivered_at", sql.String),
        sql.Column("answer", sql.String),
        if_not_exists=True,
    )
    op.create_table(
        "journal",
        sql.Column("sequence", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("kind", sql.String, nullable=False),
        sql.Column("at", sql.String, nullable=False),
        sql.Column("body", sql.LargeBinary, nullable=False),
        sql.Column("previous", sql.String, nullable=False),
        sql.Column("hash", sql.String, nullable=False, unique=True),
        sql.Column("signature", sql.LargeBinary, nullable=False),
        if_not_exists=True,
    )

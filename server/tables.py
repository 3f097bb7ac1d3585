"""The consortium database's tables, in their newest form (`server.migrate`)."""

from __future__ import annotations

import sqlalchemy as sql

metadata = sql.MetaData()

hospitals = sql.Table(
    "hospitals",
    metadata,
    sql.Column("name", sql.String, primary_key=True),
    sql.Column("release_key", sql.LargeBinary, nullable=False, unique=True),  # PEM
    sql.Column("supernode_key", sql.LargeBinary, nullable=False, unique=True),  # PEM
    sql.Column("evaluator", sql.Boolean, nullable=False),
    sql.Column("enrolled_at", sql.String, nullable=False),
    sql.Column("experts", sql.JSON),  # what it last said of itself
    sql.Column("code_hash", sql.String),
    sql.Column("named_as", sql.String),  # how model cards may name it; None: not at all
)
# Release keys that were replaced, so that what one signed before is still known.
former_keys = sql.Table(
    "former_keys",
    metadata,
    sql.Column("release_key", sql.LargeBinary, primary_key=True),  # PEM
    sql.Column("hospital", sql.String, sql.ForeignKey("hospitals.name"), nullable=False),
    sql.Column("replaced_at", sql.String, nullable=False),
)
# Those that were revoked, by the keys that they had: these are never enrolled again.
revocations = sql.Table(
    "revocations",
    metadata,
    sql.Column("release_key", sql.LargeBinary, primary_key=True),  # PEM
    sql.Column("hospital", sql.String, sql.ForeignKey("hospitals.name"), nullable=False),
    sql.Column("supernode_key", sql.LargeBinary, nullable=False),  # PEM
    sql.Column("evaluator", sql.Boolean, nullable=False),
    sql.Column("revoked_at", sql.String, nullable=False),
    sql.Column("reason", sql.String, nullable=False),
)
invitations = sql.Table(
    "invitations",
    metadata,
    sql.Column("ticket", sql.LargeBinary, primary_key=True),  # the public half of the invitation's secret
    sql.Column("hospital", sql.String, nullable=False),
    sql.Column("evaluator", sql.Boolean, nullable=False),
    sql.Column("invited_at", sql.String, nullable=False),
    sql.Column("expires_at", sql.String, nullable=False),
    sql.Column("used_at", sql.String),
)
campaigns = sql.Table(
    "campaigns",
    metadata,
    sql.Column("name", sql.String, primary_key=True),
    sql.Column("definition", sql.LargeBinary, nullable=False),  # canonical JSON
    sql.Column("rounds", sql.Integer, nullable=False),
    sql.Column("begun_at", sql.String, nullable=False),
    sql.Column("state", sql.String, nullable=False),  # running, paused, stopped, failed or done
    sql.Column("run_id", sql.String, nullable=False),  # Flower's, of the latest run
    sql.Column("changed_at", sql.String, nullable=False),
    sql.Column("doing", sql.String, nullable=False),
    sql.Column("failure", sql.String),
    sql.Column("held_at", sql.String),  # since when it is to wait; None where it may go on
)
# `states` maps every expert to the hash of its state after the round; round 0 holds the start.
rounds = sql.Table(
    "rounds",
    metadata,
    sql.Column("campaign", sql.String, sql.ForeignKey("campaigns.name"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("stage", sql.String, nullable=False),
    sql.Column("plan", sql.LargeBinary, nullable=False),
    sql.Column("signature", sql.LargeBinary, nullable=False),
    sql.Column("opened_at", sql.String, nullable=False),
    sql.Column("attempts", sql.Integer, nullable=False),
    sql.Column("committed_at", sql.String),
    sql.Column("states", sql.JSON),
    sql.Column("seconds", sql.JSON),  # by phase
)
asks = sql.Table(
    "asks",
    metadata,
    sql.Column("campaign", sql.String, primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("attempt", sql.Integer, primary_key=True),
    sql.Column("hospital", sql.String, primary_key=True),
    sql.Column("asked_at", sql.String, nullable=False),
    sql.Column("answered_at", sql.String),
    sql.Column("answer", sql.String),  # "releases", or a code
    sql.Column("bytes", sql.BigInteger),
)
verdicts = sql.Table(
    "verdicts",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("campaign", sql.String, nullable=False),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("hospital", sql.String, nullable=False),
    sql.Column("expert", sql.String),
    sql.Column("fault", sql.String),  # None where accepted
    sql.Column("digest", sql.String, nullable=False),
    sql.Column("bytes", sql.BigInteger, nullable=False),
    sql.Column("noise_std", sql.Float),
)
# What came of each expert that hospitals trained in a committed round. Rounds from before this table have no rows here.
aggregates = sql.Table(
    "aggregates",
    metadata,
    sql.Column("campaign", sql.String, primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("expert", sql.String, primary_key=True),
    sql.Column("report", sql.JSON, nullable=False),
    sql.Column("memory", sql.String),  # the hash of what the server optimiser remembers after it
)
evaluations = sql.Table(
    "evaluations",
    metadata,
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
    sql.Column(
        "place", sql.Integer, nullable=False, unique=True
    ),  # in the order in which they were committed
)
# What hospitals are asked after a stage, kept so that every asking has the same bytes; then what they answered.
noised_evaluations = sql.Table(
    "noised_evaluations",
    metadata,
    sql.Column("campaign", sql.String, primary_key=True),
    sql.Column("point", sql.String, primary_key=True),
    sql.Column("request", sql.LargeBinary, nullable=False),
    sql.Column("signature", sql.LargeBinary, nullable=False),
    sql.Column("opened_at", sql.String, nullable=False),
    sql.Column("committed_at", sql.String),
)
noised_answers = sql.Table(
    "noised_answers",
    metadata,
    sql.Column("campaign", sql.String, primary_key=True),
    sql.Column("point", sql.String, primary_key=True),
    sql.Column("hospital", sql.String, primary_key=True),
    sql.Column("fault", sql.String),  # None where accepted; else what it answered, or why it was not asked
    sql.Column("digest", sql.String),  # of the answer's bytes, where there was one
    sql.Column("reservation", sql.String),
    sql.Column("noise_std", sql.Float),
    sql.Column("right", sql.JSON),  # whole numbers, in the order of the request's kinds
    sql.Column("wrong", sql.JSON),
)
receipts = sql.Table(
    "receipts",
    metadata,
    sql.Column("campaign", sql.String, primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("hospital", sql.String, primary_key=True),
    sql.Column("data", sql.LargeBinary, nullable=False),
    sql.Column("delivered_at", sql.String),
    sql.Column("answer", sql.String),  # kept or refused
)
# What was decided, hash-chained and signed by the coordinator (privacy.ledger.entries).
journal = sql.Table(
    "journal",
    metadata,
    sql.Column("sequence", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("kind", sql.String, nullable=False),
    sql.Column("at", sql.String, nullable=False),
    sql.Column("body", sql.LargeBinary, nullable=False),
    sql.Column("previous", sql.String, nullable=False),
    sql.Column("hash", sql.String, nullable=False, unique=True),
    sql.Column("signature", sql.LargeBinary, nullable=False),
)

"""The consortium database: its tables, and transactions that are durable when they end (SQLite, WAL)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from server.errors import StoreError

_WAIT_SECONDS = 60

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
)
# Release keys that were replaced, so that what one signed before is still known.
former_keys = sql.Table(
    "former_keys",
    metadata,
    sql.Column("release_key", sql.LargeBinary, primary_key=True),  # PEM
    sql.Column("hospital", sql.String, sql.ForeignKey("hospitals.name"), nullable=False),
    sql.Column("replaced_at", sql.String, nullable=False),
)
# Those that were revoked, by the keys that they had: these are never enrolled again. Like `invitations`, a table that an
# older database has made when it is opened.
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
    sql.Column("state", sql.String, nullable=False),  # running, failed or done
    sql.Column("run_id", sql.String, nullable=False),  # Flower's, of the latest run
    sql.Column("changed_at", sql.String, nullable=False),
    sql.Column("doing", sql.String, nullable=False),
    sql.Column("failure", sql.String),
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
    sql.Column("bytes", sql.Integer),
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
    sql.Column("bytes", sql.Integer, nullable=False),
    sql.Column("noise_std", sql.Float),
)
# What came of each expert that hospitals trained in a committed round. A database from before this table has it made when
# it is opened; its earlier rounds have no rows here.
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


class Database:
    """One SQLite file, which several processes may use; a transaction that has ended survives a power cut.

    A connection stays open from one transaction to the next: as the last one it would copy the write-ahead log back and
    delete it when it closes, which costs more than most transactions.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # never one that is there: closing it would drop the locks that this process' other connections hold on it
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}: check the folder and who runs this") from error
        url = sql.URL.create("sqlite", database=str(path.absolute()))
        self._lasting, self._passing = (_engine(url, synchronous) for synchronous in ("FULL", "NORMAL"))
        with self.transaction() as connection:
            metadata.create_all(connection)

    @contextmanager
    def transaction(self, *, lasting: bool = True) -> Iterator[sql.Connection]:
        """Begin (waiting for other processes), commit at the end, roll back on any error.

        One that need not be `lasting` waits for no disk: a power cut may undo it, whole, where no lasting one came after.
        """
        try:
            with (self._lasting if lasting else self._passing).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(
                f"{self._path}: {error.__cause__ or error}: check the file, its rights, and the disk"
            ) from error


def _engine(url: sql.URL, synchronous: str) -> sql.Engine:
    def on_connect(connection: sql.PoolProxiedConnection, record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # we begin transactions ourselves
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={_WAIT_SECONDS * 1000}",
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    engine = sql.create_engine(url)
    sql.event.listen(engine, "connect", on_connect)
    sql.event.listen(engine, "begin", _on_begin)
    return engine


def _on_begin(connection: sql.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")

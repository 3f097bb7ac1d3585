"""The consortium's figures for monitoring: campaigns, rounds, hospitals' answers, certificates.

They are sums over what `status` shows, and hold nothing that hospitals measured on their data: neither scores nor
noised counts. Labels are names that the coordinator gave and words of closed sets, whatever a hospital answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sql
from prometheus_client.metrics_core import Metric

from privacy.exposition import Values, counter, exposition, gauge
from server import tables as db
from server.errors import DatabaseAway, TransactionLost
from server.events import closed
from server.home import Home
from server.loopback import accepts
from server.provision.kits import kit_expiry
from server.provision.renew import expiries
from server.store import Store

_STATES = ("running", "failed", "done")


def text(home: Home, store: Store, now: datetime) -> bytes:
    """The figures now, in Prometheus' text form; what only the database has is left out while it is away."""
    days = _days_left(home, now)
    try:
        stored = [*_campaigns(home, store), *_rounds(store, now), *_hospitals(store)]
        days |= _days_left_of_kits(home, store, now)
        database_up = True
    except (DatabaseAway, TransactionLost):
        stored, database_up = [_alive(home.running(), home)], False
    return exposition(
        [
            gauge(
                "superlink_up", "1 where the SuperLink's port accepts connections", float(accepts(home.port))
            ),
            gauge("database_up", "1 where the store's database answers", float(database_up)),
            *stored,
            gauge("days_left", "until a certificate or a hospital's kit expires", days, "what"),
        ]
    )


def _campaigns(home: Home, store: Store) -> Iterator[Metric]:
    rows = store.read(sql.select(db.campaigns.c.name, db.campaigns.c.state, db.campaigns.c.rounds))
    states: Values = {(row["name"], state): float(row["state"] == state) for row in rows for state in _STATES}
    yield gauge("campaign_state", "1 for the state that it is in", states, "campaign", "state")
    yield _alive([row["name"] for row in rows], home)
    yield gauge(
        "rounds_planned", "of the campaign", {(row["name"],): row["rounds"] for row in rows}, "campaign"
    )


def _alive(campaigns: list[str], home: Home) -> Metric:
    alive: Values = {(name,): float(home.is_running(name)) for name in campaigns}
    return gauge("campaign_alive", "1 where a process runs it", alive, "campaign")


def _rounds(store: Store, now: datetime) -> Iterator[Metric]:
    rows = store.read(sql.select(db.rounds).where(db.rounds.c.number > 0))
    committed: Counter[tuple[str, ...]] = Counter()
    seconds: Counter[tuple[str, ...]] = Counter()
    ages: dict[tuple[str, ...], float] = {}
    for row in rows:
        committed[row["campaign"],] += row["committed_at"] is not None
        for phase, value in (row["seconds"] or {}).items():
            seconds[row["campaign"], phase] += value
        if row["committed_at"] is None:
            ages[row["campaign"],] = (now - datetime.fromisoformat(row["opened_at"])).total_seconds()
    yield counter("rounds_committed", "that stand", committed, "campaign")
    yield counter("round_seconds", "of committed rounds, by what they went for", seconds, "campaign", "phase")
    yield gauge("round_open_seconds", "since the round that is not committed yet was begun", ages, "campaign")


def _hospitals(store: Store) -> Iterator[Metric]:
    table = db.asks
    query = sql.select(
        table.c.hospital,
        sql.func.max(table.c.answered_at).label("last"),
        sql.func.sum(table.c.bytes).label("bytes"),
    ).group_by(table.c.hospital)
    rows = [row for row in store.read(query) if row["last"] is not None]
    last: Values = {(row["hospital"],): datetime.fromisoformat(row["last"]).timestamp() for row in rows}
    yield gauge("hospital_last_answer_timestamp_seconds", "of any answer in a round", last, "hospital")
    received: Values = {(row["hospital"],): float(row["bytes"] or 0) for row in rows}
    yield counter("received_bytes", "in answers to rounds", received, "hospital")
    refused: Counter[tuple[str, ...]] = Counter()
    verdicts = db.verdicts
    faults = sql.select(verdicts.c.hospital, verdicts.c.fault, sql.func.count().label("n"))
    for row in store.read(
        faults.where(verdicts.c.fault.is_not(None)).group_by(verdicts.c.hospital, verdicts.c.fault)
    ):
        refused[row["hospital"], str(closed(row["fault"]))] += row["n"]
    yield counter("refused", "parts of answers that did not count, by why", refused, "hospital", "fault")


def _days_left(home: Home, now: datetime) -> dict[tuple[str, ...], float]:
    server, *roots = expiries(home, now)
    return {
        ("server certificate",): server.days,
        **{(f"root {number}",): root.days for number, root in enumerate(roots, 1)},
    }


def _days_left_of_kits(home: Home, store: Store, now: datetime) -> dict[tuple[str, ...], float]:
    kits = {f"kit of {name}": kit_expiry(home, name, now) for name in store.hospitals()}
    return {(what,): kit.days for what, kit in kits.items() if kit is not None}

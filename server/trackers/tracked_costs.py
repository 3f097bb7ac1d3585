"""What a tracker is told of privacy: the epsilon that each hospital's accepted answers were declared to cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sql

from privacy.accounting import epsilon
from privacy.evaluation import NoisedEvaluation
from privacy.mechanism import Event
from privacy.plan import Plan
from server import tables as db
from server.store import Store
from server.trackers.tracked_rounds import Told

DELTA = 1e-5  # at which epsilon is told: hospitals' own are their policies'
_HISTORIES = 4096  # that hospitals share, mostly


def charges(store: Store, campaign: str, rounds: Sequence[Mapping[str, Any]]) -> Iterator[Told]:
    """Each hospital's epsilon in this campaign after every committed round that took something of it; where it answered a
    noised evaluation after that round, the one with it too.

    A hospital's own ledger may hold more: other campaigns, and what it paid for and nobody accepted.
    """
    took = _hospitals_by(store, db.verdicts, campaign, "number")
    counted = _hospitals_by(store, db.noised_answers, campaign, "point")
    after = {
        request.round: (request.event(), counted[request.point]) for request in _evaluations(store, campaign)
    }
    spent: dict[str, tuple[Event, ...]] = defaultdict(tuple)
    for row in rounds:
        number, event = row["number"], Plan.from_bytes(row["plan"]).event()
        for hospital in sorted(took[number]):
            spent[hospital] += (event,)
            yield number, f"epsilon/{hospital}", _epsilon(spent[hospital])
        if number in after:
            event, hospitals = after[number]
            for hospital in sorted(hospitals):
                spent[hospital] += (event,)
                yield number, f"epsilon_after_evaluation/{hospital}", _epsilon(spent[hospital])


def _hospitals_by(store: Store, table: sql.Table, campaign: str, key: str) -> dict[Any, set[str]]:
    """The hospitals of which something was accepted."""
    found: dict[Any, set[str]] = defaultdict(set)
    accepted = sql.select(table.c[key], table.c.hospital).filter_by(campaign=campaign)
    for row in store.read(accepted.where(table.c.fault.is_(None))):
        found[row[key]].add(row["hospital"])
    return found


def _evaluations(store: Store, campaign: str) -> list[NoisedEvaluation]:
    table = db.noised_evaluations
    committed = sql.select(table.c.request).filter_by(campaign=campaign)
    rows = store.read(committed.where(table.c.committed_at.is_not(None)))
    return [NoisedEvaluation.from_bytes(row["request"]) for row in rows]


@lru_cache(_HISTORIES)
def _epsilon(events: tuple[Event, ...]) -> float:
    return epsilon(events, DELTA)

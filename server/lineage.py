"""Where an expert comes from: each version of it, the round that made it, and what it stood on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sql

from privacy.experts import SCALE_EXPERTS, TASK_EXPERTS
from privacy.mechanism import Event
from privacy.plan import Plan
from server import tables
from server.errors import StoreError
from server.store import Store


@dataclass(frozen=True)
class Version:
    """An expert's state after `round` (0: the start). `parent` is the state that it was trained from, None at the start;
    `on` maps the scale experts that lay under a task expert, frozen, to their states.
    """

    expert: str
    round: int
    stage: str
    state: str
    parent: str | None
    on: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values."""
        return asdict(self)


def lineage(store: Store, campaign: str) -> list[Version]:
    """Every version of every expert of a campaign's committed rounds, oldest first. `StoreError` where it never began."""
    table = tables.rounds
    committed = sql.select(table).filter_by(campaign=campaign).where(table.c.committed_at.is_not(None))
    rows = store.read(committed.order_by(table.c.number))
    if not rows:
        raise StoreError(f"campaign {campaign!r} was never begun")
    versions, before = [], dict[str, str]()
    for row in rows:
        states = row["states"]
        for expert in sorted(states):
            if states[expert] == before.get(expert):
                continue
            on = {name: states[name] for name in SCALE_EXPERTS if name in states}
            versions.append(
                Version(
                    expert=expert,
                    round=row["number"],
                    stage=row["stage"],
                    state=states[expert],
                    parent=before.get(expert),
                    on=on if expert in TASK_EXPERTS else {},
                )
            )
        before = states
    return versions


def took_part(store: Store, campaign: str, through: int) -> list[str]:
    """The hospitals that gave an accepted release of a committed round up to `through`, by name."""
    verdicts, rounds = tables.verdicts, tables.rounds
    committed = sql.select(rounds.c.number).where(
        rounds.c.campaign == campaign, rounds.c.committed_at.is_not(None), rounds.c.number <= through
    )
    accepted = sql.select(verdicts.c.hospital).filter_by(campaign=campaign, fault=None)
    rows = store.read(accepted.where(verdicts.c.number.in_(committed)).distinct())
    return sorted(row["hospital"] for row in rows)


def spent(store: Store, campaign: str, through: int) -> list[Event]:
    """What a hospital that took part in every round of a campaign spent by the end of round `through`."""
    table = tables.rounds
    asked = sql.select(table.c.plan).filter_by(campaign=campaign)
    until = asked.where(table.c.number.between(1, through)).order_by(table.c.number)
    return [Plan.from_bytes(row["plan"]).event() for row in store.read(until)]

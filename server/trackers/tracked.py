"""What an experiment tracker may be told of a campaign: figures that have left the hospitals rightly, and nothing else.

    store --tracked--> definition, hashes, and (step, name, value) of every committed round and evaluation

A step is a number of committed rounds. Once a figure is told it never changes: rounds and evaluations are told when they
are committed, so a tracker that is filled while the campaign runs ends as one that is filled afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from privacy import canonical
from server import tables as db
from server.campaign import BASE, definition_hash
from server.errors import StoreError
from server.journal import MAX_BODY
from server.store import Store
from server.trackers.tracked_costs import charges
from server.trackers.tracked_evaluations import noised_scores, public_scores
from server.trackers.tracked_rounds import exchanged

_LONGEST = 500  # letters of a parameter: what every MLflow server takes
_HASHES = ("base_hash", "trusted_code", "initial")


@dataclass(frozen=True)
class Figure:
    """A metric's value after `step` committed rounds; `at` is when the last of them was committed."""

    step: int
    name: str
    value: float
    at: datetime


@dataclass(frozen=True)
class Tracked:
    """A campaign as a tracker gets it. `identity` is the same for every telling of this campaign of this consortium, and no
    other's; `state` is running, paused, stopped, failed or done.
    """

    campaign: str
    identity: str
    state: str
    begun_at: datetime
    changed_at: datetime
    params: Mapping[str, str]
    tags: Mapping[str, str]
    figures: tuple[Figure, ...]

    @property
    def ended(self) -> bool:
        """Whether nothing more comes unless somebody runs the campaign again."""
        return self.state not in ("running", "paused")


def tracked(store: Store, consortium: str, campaign: str) -> Tracked:
    """All that may be told of the campaign now. Raises `StoreError` where it never began."""
    rows = store.read(sql.select(db.campaigns).filter_by(name=campaign))
    if not rows:
        raise StoreError(f"campaign {campaign!r} was never begun")
    (row,) = rows
    definition = canonical.decode(row["definition"], MAX_BODY)
    table = db.rounds
    committed = sql.select(table).filter_by(campaign=campaign).where(table.c.committed_at.is_not(None))
    rounds = store.read(committed.order_by(table.c.number))
    times = {item["number"]: datetime.fromisoformat(item["committed_at"]) for item in rounds}
    digest = definition_hash(definition)
    about = {"consortium": consortium, "campaign": campaign, "definition": digest}
    return Tracked(
        campaign=campaign,
        identity=canonical.digest(canonical.encode({**about, "begun": row["begun_at"]})),
        state=row["state"],
        begun_at=datetime.fromisoformat(row["begun_at"]),
        changed_at=datetime.fromisoformat(row["changed_at"]),
        params=dict(_params(definition)),
        tags={**about, **dict(_hashes(definition, rounds[-1]["states"]))},
        figures=tuple(
            Figure(step, name, value, times[step])
            for step, name, value in _values(store, campaign, definition, rounds)
            if step in times  # else it was committed while this was read: it is told the next time
        ),
    )


def _values(
    store: Store, campaign: str, definition: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int, str, float]]:
    ends = {BASE: 0}
    for stage in definition["stages"]:
        ends[stage["kind"]] = max(ends.values()) + stage["rounds"]
    trained = rounds[1:]
    yield from exchanged(store, campaign, trained)
    yield from public_scores(store, campaign, ends)
    yield from noised_scores(store, campaign)
    yield from charges(store, campaign, trained)


def _params(definition: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The definition without its hashes, flat."""
    kept = {key: value for key, value in definition.items() if key not in (*_HASHES, "stages")}
    stages = {
        stage["kind"]: {k: v for k, v in stage.items() if k != "kind"} for stage in definition["stages"]
    }
    for key, value in _flat({**kept, **stages}):
        yield key, value[:_LONGEST]


def _hashes(definition: Mapping[str, Any], states: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Of the base, the trusted code, and each expert at the start and now."""
    yield "base", definition["base_hash"]
    for number, code in enumerate(definition["trusted_code"], 1):
        yield f"trusted_code/{number}", code
    yield from ((f"initial/{expert}", digest) for expert, digest in sorted(definition["initial"].items()))
    yield from ((f"experts/{expert}", digest) for expert, digest in sorted(states.items()))


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in sorted(value.items()):
            yield from _flat(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value))
    elif value is not None:
        yield name, str(value)

"""What a tracker is told of committed rounds: who answered what, in how many bytes and seconds, and how far releases agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from server import tables as db
from server.events import closed
from server.store import Store

Told = tuple[int, str, float]  # step, name, value
ACCEPTED = "accepted"


def exchanged(store: Store, campaign: str, rounds: Sequence[Mapping[str, Any]]) -> Iterator[Told]:
    """The figures of each of the committed `rounds`, in order."""
    asks, verdicts, aggregates = (
        _by_round(store, table, campaign) for table in (db.asks, db.verdicts, db.aggregates)
    )
    for row in rounds:
        number = row["number"]
        opened, ended = (datetime.fromisoformat(row[key]) for key in ("opened_at", "committed_at"))
        told = {
            "round": float(number),
            "seconds/round": (ended - opened).total_seconds(),
            **{f"seconds/{phase}": float(value) for phase, value in (row["seconds"] or {}).items()},
            "attempts": float(row["attempts"]),
            **_bytes(asks[number]),
            **_verdicts(verdicts[number]),
            **{key: value for each in aggregates[number] for key, value in _agreement(each)},
        }
        yield from ((number, name, value) for name, value in sorted(told.items()))


def _bytes(asks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What came of each hospital, in all attempts."""
    found: Counter[str] = Counter()
    for ask in asks:
        found[ask["hospital"]] += ask["bytes"] or 0
    return {f"bytes/{name}": float(count) for name, count in found.items()} | {
        "bytes": float(found.total()),
    }


def _verdicts(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How many parts of answers were accepted, or refused for which reason; a hospital's own words are none of these."""
    found = Counter(ACCEPTED if v["fault"] is None else str(closed(v["fault"])) for v in verdicts)
    contributing = {v["hospital"] for v in verdicts if v["fault"] is None}
    counts = {f"verdicts/{word}": float(count) for word, count in found.items()}
    return counts | {"hospitals": float(len(contributing))}


def _agreement(aggregate: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Drift of one expert (`strategies.drift`): of all, and of each hospital; what noise leaves untold is left out."""
    expert, drift = aggregate["expert"], aggregate["report"].get("drift")
    if drift is None:
        return
    figures = {"signal_cosine": drift["signal_cosine"]}
    for name, agreement in drift["hospitals"].items():
        figures |= {f"{key}/{name}": value for key, value in agreement.items()}
    for key, value in figures.items():
        if value is not None:
            yield f"drift/{expert}/{key}", float(value)


def _by_round(store: Store, table: sql.Table, campaign: str) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in store.read(sql.select(table).filter_by(campaign=campaign)):
        found[row["number"]].append(row)
    return found

"""What a tracker is told of evaluations: the evaluator's scores on public data, and the estimates from noised counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import sqlalchemy as sql

from privacy import canonical
from server import tables as db
from server.errors import CampaignError
from server.status import noised_evaluations
from server.store import Store
from server.trackers.tracked_rounds import Told

_ROUND = "round-"


def public_scores(store: Store, campaign: str, ends: Mapping[str, int]) -> Iterator[Told]:
    """Each score with its 95 % interval and its number of public samples; `ends` maps each stage to its last round."""
    table = db.evaluations
    for row in store.read(sql.select(table).filter_by(campaign=campaign).order_by(table.c.place)):
        step = round_of(row["point"], ends)
        name = f"public/{row['scale']}/{row['task']}/{named(row['metric'])}"
        yield step, name, row["mean"]
        for key in ("low", "high", "n"):
            yield step, f"{name}/{key}", float(row[key])


def noised_scores(store: Store, campaign: str) -> Iterator[Told]:
    """Estimates with their 95 % intervals, pooled and by hospital: of counts that hospitals noised and paid for."""
    for point in noised_evaluations(store, campaign):
        whose = {"pooled": point["pooled"]}
        whose |= {row["hospital"]: row["kinds"] for row in point["hospitals"]}
        for who, kinds in whose.items():
            for kind in kinds:
                name = f"noised/{kind['scale']}/{kind['task']}/{who}"
                low, high = kind["ci95"]
                for key, value in (("", kind["mean"]), ("/low", low), ("/high", high)):
                    yield point["round"], name + key, float(value)


def round_of(point: str, ends: Mapping[str, int]) -> int:
    """How many rounds are committed at a point (`server.points`)."""
    number = point.removeprefix(_ROUND)
    if point in ends:
        return ends[point]
    if point == number or not number.isdecimal():
        raise CampaignError(f"an evaluation at {point!r}, where the campaign has no point")
    return int(number)


def named(text: str) -> str:
    """The text as part of a name that every tracker takes. Different texts have different names."""
    plain = re.sub(r"[^A-Za-z0-9 ._-]", "_", text)
    return plain if plain == text else f"{plain}-{canonical.digest(text.encode())[:8]}"

"""What the page asks of the store about campaigns: narrow queries, so that a page costs no more than what it shows."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql
from sqlalchemy import func

from server import tables as db
from server.store import Store

PER_PAGE = 50
ACCEPTED = db.verdicts.c.fault.is_(None)
REFUSED = ~ACCEPTED & (db.verdicts.c.digest != "")  # else no release came: the fault says why
Values = dict[str, Any]


def campaigns(store: Store) -> list[Values]:
    """Every campaign with how many of its rounds are `committed`, the newest first."""
    done = (
        sql.select(db.rounds.c.campaign, func.count().label("committed"))
        .where(db.rounds.c.committed_at.is_not(None), db.rounds.c.number > 0)
        .group_by(db.rounds.c.campaign)
        .subquery()
    )
    shown = [c for c in db.campaigns.c if c.name != "definition"]
    query = sql.select(*shown, func.coalesce(done.c.committed, 0).label("committed")).join(
        done, done.c.campaign == db.campaigns.c.name, isouter=True
    )
    return store.read(query.order_by(db.campaigns.c.begun_at.desc()))


def open_round(store: Store, campaign: str) -> Values | None:
    """The round that is begun and not committed; None where there is none."""
    query = sql.select(db.rounds).filter_by(campaign=campaign).where(db.rounds.c.committed_at.is_(None))
    return _first(store, query.order_by(db.rounds.c.number.desc()).limit(1))


def round_at(store: Store, campaign: str, number: int) -> Values | None:
    """One round, 1 or later; None where it was never begun."""
    query = sql.select(db.rounds).filter_by(campaign=campaign, number=number)
    return _first(store, query.where(db.rounds.c.number > 0))


def asks(store: Store, campaign: str, number: int, attempt: int | None = None) -> list[Values]:
    """Who was asked in a round, by attempt and name; of one attempt alone where it is named."""
    query = sql.select(db.asks).filter_by(campaign=campaign, number=number)
    if attempt is not None:
        query = query.filter_by(attempt=attempt)
    return store.read(query.order_by(db.asks.c.attempt, db.asks.c.hospital))


def verdicts(store: Store, campaign: str, number: int) -> list[Values]:
    """What became of each release of a round."""
    query = sql.select(db.verdicts).filter_by(campaign=campaign, number=number)
    return store.read(query.order_by(db.verdicts.c.hospital, db.verdicts.c.expert))


def aggregates(store: Store, campaign: str, number: int) -> dict[str, Values]:
    """Each trained expert's report of a round."""
    query = sql.select(db.aggregates).filter_by(campaign=campaign, number=number)
    return {row["expert"]: row["report"] for row in store.read(query.order_by(db.aggregates.c.expert))}


def rounds(store: Store, campaign: str, page: int) -> list[Values]:
    """`PER_PAGE` rounds, the newest first, each with `accepted`, `refused` and `bytes` of its releases, how often a hospital
    was `asked`, and how many gave none in the end (`without`).
    """
    columns = (db.rounds.c[name] for name in ("number", "stage", "opened_at", "attempts", "committed_at"))
    query = sql.select(*columns, db.rounds.c.seconds).filter_by(campaign=campaign)
    query = query.where(db.rounds.c.number > 0).order_by(db.rounds.c.number.desc())
    found = store.read(query.limit(PER_PAGE).offset(PER_PAGE * (page - 1)))
    shown = [row["number"] for row in found]
    told = sql.select(
        db.verdicts.c.number,
        _times(ACCEPTED).label("accepted"),
        _times(REFUSED).label("refused"),
        _times(~ACCEPTED & ~REFUSED).label("without"),
        func.sum(db.verdicts.c.bytes).label("bytes"),
    )
    sums = _by_number(store, told.filter_by(campaign=campaign), db.verdicts, shown)
    count = sql.select(db.asks.c.number, func.count().label("asked"))
    asked = _by_number(store, count.filter_by(campaign=campaign), db.asks, shown)
    nothing = {"accepted": 0, "refused": 0, "without": 0, "bytes": 0, "asked": 0}
    return [
        {**nothing, **sums.get(row["number"], {}), **asked.get(row["number"], {}), **row} for row in found
    ]


def _times(what: sql.ColumnElement[bool]) -> sql.ColumnElement[int]:
    return func.sum(sql.case((what, 1), else_=0))


def _by_number(
    store: Store, query: sql.Select[Any], table: sql.Table, numbers: list[int]
) -> dict[int, Values]:
    found = store.read(query.where(table.c.number.in_(numbers)).group_by(table.c.number))
    return {row["number"]: row for row in found}


def durations(store: Store, campaign: str, stage: str) -> list[Values]:
    """When each committed round of a stage was opened and committed, newest first, twenty at most."""
    columns = db.rounds.c.opened_at, db.rounds.c.committed_at
    query = sql.select(*columns).filter_by(campaign=campaign, stage=stage)
    query = query.where(db.rounds.c.committed_at.is_not(None), db.rounds.c.number > 0)
    return store.read(query.order_by(db.rounds.c.number.desc()).limit(20))


def points(store: Store, campaign: str) -> list[Values]:
    """The evaluator's rows, in the order in which they were committed."""
    query = sql.select(db.evaluations).filter_by(campaign=campaign)
    return store.read(query.order_by(db.evaluations.c.place))


def came_in(store: Store, campaign: str) -> int:
    """Bytes of all releases that came in."""
    query = sql.select(func.coalesce(func.sum(db.verdicts.c.bytes), 0).label("all"))
    return int(store.read(query.filter_by(campaign=campaign))[0]["all"])


def agreements(store: Store, campaign: str) -> list[Values]:
    """By round and expert (`number`, `expert`): the mean cosine between hospitals' signals, None where noise hides it."""
    cosine = db.aggregates.c.report["drift"]["signal_cosine"].as_float().label("cosine")
    query = sql.select(db.aggregates.c.number, db.aggregates.c.expert, cosine).filter_by(campaign=campaign)
    return store.read(query.order_by(db.aggregates.c.number, db.aggregates.c.expert))


def definition(store: Store, campaign: str) -> bytes:
    """A campaign's definition, as it is kept."""
    (row,) = store.read(sql.select(db.campaigns.c.definition).filter_by(name=campaign))
    return bytes(row["definition"])


def plans(store: Store) -> dict[tuple[str, str], bytes]:
    """The plan of the first round of each campaign's stages, as it was signed."""
    table = db.rounds
    firsts = (
        sql.select(table.c.campaign, func.min(table.c.number).label("number"))
        .where(table.c.number > 0)
        .group_by(table.c.campaign, table.c.stage)
        .subquery()
    )
    same = (table.c.campaign == firsts.c.campaign) & (table.c.number == firsts.c.number)
    query = sql.select(table.c.campaign, table.c.stage, table.c.plan).join(firsts, same)
    return {(row["campaign"], row["stage"]): bytes(row["plan"]) for row in store.read(query)}


def sent(store: Store) -> list[Values]:
    """How often each hospital was asked (`asked`) in each stage of each campaign."""
    table, rounds = db.asks, db.rounds
    same = (table.c.campaign == rounds.c.campaign) & (table.c.number == rounds.c.number)
    columns = table.c.campaign, rounds.c.stage, table.c.hospital
    query = sql.select(*columns, func.count().label("asked")).join(rounds, same).group_by(*columns)
    return store.read(query)


def _first(store: Store, query: sql.Select[Any]) -> Values | None:
    return next(iter(store.read(query)), None)

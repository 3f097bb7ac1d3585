"""What the page asks of the store: narrow queries, so that a page costs no more than what it shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sql
from sqlalchemy import func

from server import tables as db
from server.store import Store

PER_PAGE = 50
_RELEASES = "releases"
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
    """`PER_PAGE` rounds, the newest first, each with `accepted`, `refused` and `bytes` of its releases."""
    of = sql.case((db.verdicts.c.fault.is_(None), 1), else_=0)
    numbers = (
        sql.select(db.rounds.c.number)
        .filter_by(campaign=campaign)
        .where(db.rounds.c.number > 0)
        .order_by(db.rounds.c.number.desc())
        .limit(PER_PAGE)
        .offset(PER_PAGE * (page - 1))
    )
    shown = [row["number"] for row in store.read(numbers)]
    told = (
        sql.select(
            db.verdicts.c.number,
            func.sum(of).label("accepted"),
            func.sum(1 - of).label("refused"),
            func.sum(db.verdicts.c.bytes).label("bytes"),
        )
        .filter_by(campaign=campaign)
        .where(db.verdicts.c.number.in_(shown))
        .group_by(db.verdicts.c.number)
    )
    sums = {row["number"]: row for row in store.read(told)}
    columns = (db.rounds.c[name] for name in ("number", "stage", "opened_at", "attempts", "committed_at"))
    query = sql.select(*columns, db.rounds.c.seconds).filter_by(campaign=campaign)
    nothing = {"accepted": 0, "refused": 0, "bytes": 0}
    return [
        {**row, **(sums.get(row["number"]) or nothing)}
        for row in store.read(query.where(db.rounds.c.number.in_(shown)).order_by(db.rounds.c.number.desc()))
    ]


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


def traffic(store: Store, campaign: str) -> int:
    """Bytes of all releases that came in."""
    query = sql.select(func.coalesce(func.sum(db.verdicts.c.bytes), 0).label("all")).filter_by(
        campaign=campaign
    )
    return int(store.read(query)[0]["all"])


def contacts(store: Store) -> dict[str, Values]:
    """By hospital: when it last answered (`at`), how many asks it had, and how many it answered with releases."""
    gave = sql.case((db.asks.c.answer == _RELEASES, 1), else_=0)
    query = sql.select(
        db.asks.c.hospital,
        func.max(db.asks.c.answered_at).label("at"),
        func.count().label("asked"),
        func.sum(gave).label("gave"),
    ).group_by(db.asks.c.hospital)
    return {row["hospital"]: row for row in store.read(query)}


def received(store: Store) -> dict[str, int]:
    """By hospital: bytes of its releases."""
    query = sql.select(db.verdicts.c.hospital, func.sum(db.verdicts.c.bytes).label("all"))
    return {row["hospital"]: int(row["all"]) for row in store.read(query.group_by(db.verdicts.c.hospital))}


def refused(store: Store, most: int) -> list[Values]:
    """The last refused releases, the newest first."""
    query = sql.select(db.verdicts).where(db.verdicts.c.fault.is_not(None))
    return store.read(query.order_by(db.verdicts.c.id.desc()).limit(most))


def refusals(store: Store) -> dict[str, dict[str, int]]:
    """By hospital: how often each code was answered, or a release of it refused."""
    found: dict[str, dict[str, int]] = {}
    answers = sql.select(db.asks.c.hospital, db.asks.c.answer.label("code"), func.count().label("times"))
    answers = answers.where(db.asks.c.answer.is_not(None), db.asks.c.answer != _RELEASES)
    faults = sql.select(
        db.verdicts.c.hospital, db.verdicts.c.fault.label("code"), func.count().label("times")
    )
    faults = faults.where(db.verdicts.c.fault.is_not(None))
    for query in (
        answers.group_by(db.asks.c.hospital, db.asks.c.answer),
        faults.group_by(db.verdicts.c.hospital, db.verdicts.c.fault),
    ):
        for row in store.read(query):
            codes = found.setdefault(row["hospital"], {})
            codes[row["code"]] = codes.get(row["code"], 0) + row["times"]
    return found


def paid(store: Store) -> list[Values]:
    """Which hospital's releases were accepted in which round (`campaign`, `number`, `hospital`), in the order of rounds."""
    query = sql.select(db.verdicts.c.campaign, db.verdicts.c.number, db.verdicts.c.hospital).distinct()
    query = query.where(db.verdicts.c.fault.is_(None))
    return store.read(query.order_by(db.verdicts.c.campaign, db.verdicts.c.number, db.verdicts.c.hospital))


def plans(store: Store) -> dict[tuple[str, int], bytes]:
    """Each round's plan, as it was signed."""
    query = sql.select(db.rounds.c.campaign, db.rounds.c.number, db.rounds.c.plan)
    return {
        (row["campaign"], row["number"]): row["plan"]
        for row in store.read(query.where(db.rounds.c.number > 0))
    }


def asked_for(store: Store) -> list[Values]:
    """Which hospital's noised counts were accepted, with the request that it paid for."""
    answers, opened = db.noised_answers, db.noised_evaluations
    same = (answers.c.campaign == opened.c.campaign) & (answers.c.point == opened.c.point)
    query = sql.select(answers.c.hospital, answers.c.campaign, opened.c.request).join(opened, same)
    return store.read(query.where(answers.c.fault.is_(None)))


def journal(store: Store, page: int) -> tuple[int, list[Values]]:
    """How many entries there are, and `PER_PAGE` of them, the newest first."""
    count = int(store.read(sql.select(func.count().label("all")).select_from(db.journal))[0]["all"])
    query = sql.select(db.journal).order_by(db.journal.c.sequence.desc())
    return count, store.read(query.limit(PER_PAGE).offset(PER_PAGE * (page - 1)))


def mark(store: Store) -> tuple[Any, ...]:
    """Something that changes whenever a page would: states of campaigns, rounds, asks and journal. Quick."""
    newest = sql.select(
        sql.select(func.max(db.campaigns.c.changed_at)).scalar_subquery().label("campaign"),
        sql.select(func.max(db.asks.c.asked_at)).scalar_subquery().label("asked"),
        sql.select(func.max(db.asks.c.answered_at)).scalar_subquery().label("answered"),
        sql.select(func.count(db.asks.c.answered_at)).scalar_subquery().label("answers"),
        sql.select(func.max(db.journal.c.sequence)).scalar_subquery().label("entries"),
    )
    return tuple(store.read(newest)[0].values())


def _first(store: Store, query: sql.Select[Any]) -> Values | None:
    return next(iter(store.read(query)), None)


def names(rows: Iterable[Values]) -> list[str]:
    """The hospitals of these rows, each once, by name."""
    return sorted({row["hospital"] for row in rows})

"""What the page asks of the store about the consortium as a whole: hospitals, privacy, the journal."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql
from sqlalchemy import func

from server import tables as db
from server.events import NO_ANSWER
from server.page.reading import ACCEPTED, PER_PAGE, REFUSED, Values
from server.store import Store

_RELEASES = "releases"


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
    query = sql.select(db.verdicts).where(REFUSED)
    return store.read(query.order_by(db.verdicts.c.id.desc()).limit(most))


def refusals(store: Store) -> dict[str, dict[str, int]]:
    """By hospital: how often each code was answered, a release of it refused, or nothing came."""
    found: dict[str, dict[str, int]] = {}
    answers = sql.select(db.asks.c.hospital, db.asks.c.answer.label("code"), func.count().label("times"))
    answers = answers.where(db.asks.c.answer.is_not(None), db.asks.c.answer != _RELEASES)
    faults = sql.select(
        db.verdicts.c.hospital, db.verdicts.c.fault.label("code"), func.count().label("times")
    )
    faults = faults.where(
        REFUSED | (db.verdicts.c.fault == NO_ANSWER)
    )  # other codes were answered, and counted
    for query in (
        answers.group_by(db.asks.c.hospital, db.asks.c.answer),
        faults.group_by(db.verdicts.c.hospital, db.verdicts.c.fault),
    ):
        for row in store.read(query):
            codes = found.setdefault(row["hospital"], {})
            codes[row["code"]] = codes.get(row["code"], 0) + row["times"]
    return found


def accepted(store: Store) -> list[Values]:
    """In how many `rounds` of each stage releases of each hospital were accepted, in the order of stages."""
    table, rounds = db.verdicts, db.rounds
    distinct = sql.select(table.c.campaign, table.c.number, table.c.hospital).distinct()
    taken = distinct.where(ACCEPTED).subquery()
    same = (taken.c.campaign == rounds.c.campaign) & (taken.c.number == rounds.c.number)
    columns = taken.c.hospital, rounds.c.campaign, rounds.c.stage
    query = sql.select(*columns, func.count().label("rounds")).join(rounds, same).group_by(*columns)
    return store.read(query.order_by(func.min(rounds.c.opened_at), rounds.c.stage))


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


def not_done(store: Store) -> list[str]:
    """The campaigns that a process may be running."""
    query = sql.select(db.campaigns.c.name).where(db.campaigns.c.state.in_(("running", "paused")))
    return [row["name"] for row in store.read(query.order_by(db.campaigns.c.name))]

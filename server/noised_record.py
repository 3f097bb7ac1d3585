"""Noised evaluations as they are kept: what was asked, and what each hospital answered; inside a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sql

from privacy.evaluation import NoisedEvaluation
from privacy.keys import PrivateKey
from server import tables
from server.errors import StoreError
from server.records import NoisedAnswer, OpenEvaluation

_table = tables.noised_evaluations


def begin(connection: sql.Connection, request: NoisedEvaluation, key: PrivateKey, at: str) -> OpenEvaluation:
    """What is asked at this point: the request of the first asking, for good, so that nobody is asked two things."""
    row = connection.execute(_at(request.campaign, request.point)).one_or_none()
    if row is not None:
        return OpenEvaluation(NoisedEvaluation.from_bytes(row.request), row.signature, row.opened_at)
    new = OpenEvaluation(request, request.sign(key), at)
    values = {
        "campaign": request.campaign,
        "point": request.point,
        "request": request.to_bytes(),
        "signature": new.signature,
        "opened_at": at,
    }
    connection.execute(_table.insert(), [values])
    return new


def commit(
    connection: sql.Connection, request: NoisedEvaluation, answers: Sequence[NoisedAnswer], at: str
) -> dict[str, Any]:
    """Keep the answers, once; returns what the journal says of them. Raises `StoreError` for a second time."""
    row = connection.execute(_at(request.campaign, request.point)).one_or_none()
    if row is None or row.request != request.to_bytes() or row.committed_at is not None:
        raise StoreError(f"the noised evaluation of {request.campaign} at {request.point} can't be committed")
    this = (_table.c.campaign == request.campaign) & (_table.c.point == request.point)
    connection.execute(_table.update().where(this).values(committed_at=at))
    where = {"campaign": request.campaign, "point": request.point}
    said = [_said(answer) for answer in answers]
    if said:
        connection.execute(tables.noised_answers.insert(), [{**where, **values} for values in said])
    return {
        **where,
        "round": request.round,
        "request": request.hash,
        "event": request.event().to_dict(),
        "kinds": [list(kind) for kind in request.kinds],
        "opened": row.opened_at,
        "answers": said,
    }


def points(connection: sql.Connection, campaign: str) -> frozenset[str]:
    """Where noised evaluations are committed."""
    committed = (_table.c.campaign == campaign) & _table.c.committed_at.is_not(None)
    return frozenset(connection.scalars(sql.select(_table.c.point).where(committed)))


def _at(campaign: str, point: str) -> sql.Select[Any]:
    return sql.select(_table).filter_by(campaign=campaign, point=point)


def _said(answer: NoisedAnswer) -> dict[str, Any]:
    counts = answer.counts
    return {
        "hospital": answer.hospital,
        "fault": answer.fault,
        "digest": answer.digest,
        "reservation": None if counts is None else counts.reservation,
        "noise_std": None if counts is None else counts.noise_std,
        "right": None if counts is None else list(counts.right),
        "wrong": None if counts is None else list(counts.wrong),
    }

"""Evaluations as they are kept: the evaluator's rows, and the hospitals' noised counts."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sql

from privacy.evaluation import NoisedEvaluation
from server import committed, hospitals, noised_record, tables
from server.errors import StoreError
from server.journal import Kind
from server.records import REVOKED, NoisedAnswer, OpenEvaluation, Row
from server.stored import Stored


class StoredEvaluations(Stored):
    """Each is committed once for a point, in one transaction with its entry of the journal."""

    def evaluation(self, campaign: str, point: str) -> list[Row]:
        """The evaluator's rows at a point, none where it was not evaluated there."""
        with self._database.transaction() as connection:
            query = committed.where(tables.evaluations, campaign=campaign, point=point)
            found = connection.execute(query.order_by(tables.evaluations.c.place))
            return [Row(**{key: row[key] for key in Row.__dataclass_fields__}) for row in found.mappings()]

    def commit_evaluation(self, campaign: str, point: str, rows: Sequence[Row], number: int) -> None:
        """Keep the rows of an evaluation after round `number`. There is one for each point, with a row at least."""
        if not rows:
            raise StoreError(f"an evaluation of {campaign} at {point} without a row")
        table = tables.evaluations
        with self._database.transaction() as connection:
            before = connection.scalar(sql.select(sql.func.max(table.c.place))) or 0
            values = [
                {"campaign": campaign, "point": point, **vars(row), "place": place}
                for place, row in enumerate(rows, before + 1)
            ]
            connection.execute(table.insert(), values)
            states = committed.states_after(connection, campaign, number)
            body = {
                "campaign": campaign,
                "point": point,
                "states": states,
                "rows": [vars(row) for row in rows],
            }
            self._record(connection, Kind.EVALUATION, body)

    def open_evaluation(self, request: NoisedEvaluation) -> OpenEvaluation:
        """Begin a noised evaluation, or take up the one that was begun at this point: its first bytes stand."""
        with self._database.transaction() as connection:
            return noised_record.begin(connection, request, self._key, self._when())

    def commit_noised(self, request: NoisedEvaluation, answers: Sequence[NoisedAnswer]) -> None:
        """Keep what the hospitals answered, faults too, and the journal's entry, in one transaction. There is one
        for each point (`StoreError`). What a hospital answered that was revoked meanwhile is refused.
        """
        with self._database.transaction() as connection:
            gone = hospitals.revoked(connection)
            answers = [NoisedAnswer(a.hospital, REVOKED) if a.hospital in gone else a for a in answers]
            body = noised_record.commit(connection, request, answers, self._when())
            states = committed.last(connection, request.campaign).states
            self._record(connection, Kind.EVALUATION, {**body, "states": states})

"""Rounds as they are kept: the plan that was signed, who was asked, and, in one transaction, what came of it.

Order: `open_round`, `asked` and `answered` as it goes (for eyes only), `commit_round`. Accepted releases lie aside until
then, and are kept or removed with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from privacy.events import Bytes, Name, Ordinal, Seconds, tell
from privacy.ledger.parts import whole
from privacy.plan import Plan
from server import committed, hospitals, journal, tables
from server.aside import Aside
from server.blobs import Blobs
from server.errors import CampaignStopped, HospitalRevoked, StoreError
from server.events import HospitalAnswered, ReleaseRefused, RoundCommitted, RoundOpened, closed
from server.journal import Kind
from server.kept import Kept
from server.records import OpenRound
from server.stored import Stored
from server.stored_steering import check_not_stopped
from strategies.intake import Aggregated, Verdict
from strategies.summed import messages_of


class StoredRounds(Stored):
    """A round stands when its one transaction ended, and not a moment before."""

    _blobs: Blobs
    _aside: Aside
    _kept: Kept

    def open_round(self, plan: Plan) -> OpenRound:
        """Begin a round, or a further attempt at one that was begun. The first asking's bytes are kept for
        good.

        Raises `StoreError` where the round is not the next, or was begun under another plan; `CampaignStopped`.
        """
        with self._database.transaction() as connection:
            check_not_stopped(connection, plan.campaign)
            last = committed.last(connection, plan.campaign)
            if plan.round != last.number + 1:
                raise StoreError(
                    f"round {plan.round} of {plan.campaign} can't begin: {last.number} are committed"
                )
            row = connection.execute(
                committed.where(tables.rounds, campaign=plan.campaign, number=plan.round)
            ).one_or_none()
            if row is None:
                signature, now = plan.sign(self._key), self._when()
                new = {
                    "campaign": plan.campaign,
                    "number": plan.round,
                    "stage": plan.stage,
                    "plan": plan.to_bytes(),
                    "signature": signature,
                    "opened_at": now,
                    "attempts": 1,
                }
                connection.execute(tables.rounds.insert(), [new])
                return OpenRound(plan, signature, 1, now)
            if row.plan != plan.to_bytes():
                raise StoreError(f"round {plan.round} of {plan.campaign} was begun under another plan")
            self._update_round(connection, plan, attempts=row.attempts + 1)
            return OpenRound(plan, row.signature, row.attempts + 1, row.opened_at)

    def asked(self, opened: OpenRound, hospitals: Iterable[str]) -> None:
        """Hospitals, one at least, are sent the plan."""
        plan, now = opened.plan, self._when()
        row = {"campaign": plan.campaign, "number": plan.round, "attempt": opened.attempt, "asked_at": now}
        with self._database.transaction(lasting=False) as connection:
            connection.execute(tables.asks.insert(), [{**row, "hospital": name} for name in hospitals])
        tell(RoundOpened(Name(plan.campaign), Ordinal(plan.round), Ordinal(opened.attempt)))

    def answered(
        self, opened: OpenRound, hospital: str, answer: str, size: int, *, lasting: bool = False
    ) -> None:
        """A hospital's answer came: "releases" or its code, and its bytes. For eyes, and so not `lasting` over a power cut,
        unless something hangs on it.
        """
        plan, table = opened.plan, tables.asks
        key = (table.c.campaign == plan.campaign) & (table.c.number == plan.round)
        this = key & (table.c.attempt == opened.attempt) & (table.c.hospital == hospital)
        with self._database.transaction(lasting=lasting) as connection:
            values = {"answered_at": self._when(), "answer": answer, "bytes": size}
            connection.execute(table.update().where(this).values(**values))
        where = Name(plan.campaign), Ordinal(plan.round)
        tell(HospitalAnswered(*where, Name(hospital), closed(answer), Bytes(size)))

    def put_aside(self, campaign: str, data: bytes) -> Path:
        """Keep an accepted release of the campaign's open round on disk until the round is committed."""
        return self._aside.put(campaign, data)

    def commit_round(
        self,
        opened: OpenRound,
        trained: Mapping[str, Aggregated],
        verdicts: Sequence[Verdict],
        receipts: Mapping[str, bytes],
        seconds: Mapping[str, float],
        *,
        keep_releases: bool,
        summed: Mapping[str, Any] | None = None,
    ) -> dict[str, str]:
        """Make a round stand: `trained` holds the experts that hospitals trained. Returns all experts' hashes after it.

        One transaction: after a crash either all of it is there or none. `keep_releases` keeps the accepted releases, which
        must have been put aside; the journal says whether they were. `summed` is what the journal says of a round under
        distributed trust. Raises `HospitalRevoked` where one whose release was accepted was revoked meanwhile,
        `CampaignStopped` where the run was ended.
        """
        plan = opened.plan
        accepted = {v.digest for v in verdicts if v.fault is None} | messages_of({"sum": summed or {}})
        if keep_releases:
            self._kept.take(self._aside.path(plan.campaign, digest) for digest in sorted(accepted))
        fresh = {name: self._blobs.put(found.state) for name, found in trained.items()}
        aggregates = {
            name: {
                "report": dict(found.report),
                "memory": None if found.memory is None else self._blobs.put(found.memory),
            }
            for name, found in trained.items()
        }
        with self._not_kept_if_refused(accepted), self._database.transaction() as connection:
            check_not_stopped(connection, plan.campaign)
            last = committed.last(connection, plan.campaign)
            if plan.round != last.number + 1:
                raise StoreError(
                    f"round {plan.round} of {plan.campaign} can't be committed: {last.number} are"
                )
            hospitals.check_none_revoked(connection, (v.hospital for v in verdicts if v.fault is None))
            states = {**last.states, **fresh}
            values = {"committed_at": self._when(), "states": states, "seconds": dict(seconds)}
            self._update_round(connection, plan, **values)
            where = {"campaign": plan.campaign, "number": plan.round}
            rows = [
                {
                    **where,
                    "hospital": v.hospital,
                    "expert": v.expert,
                    "fault": v.fault,
                    "digest": v.digest,
                    "bytes": v.size,
                    "noise_std": v.noise_std,
                }
                for v in verdicts
            ]
            if rows:
                connection.execute(tables.verdicts.insert(), rows)
            made = [{**where, "expert": name, **found} for name, found in aggregates.items()]
            if made:
                connection.execute(tables.aggregates.insert(), made)
            owed = [{**where, "hospital": name, "data": data} for name, data in receipts.items()]
            if owed:
                connection.execute(tables.receipts.insert(), owed)
            said = [
                {
                    "hospital": v.hospital,
                    "expert": v.expert,
                    "fault": v.fault,
                    "release": v.digest,
                    "reservation": v.reservation,
                }
                for v in verdicts
            ]
            begun = connection.execute(
                committed.where(tables.rounds, campaign=plan.campaign, number=plan.round)
            ).one()
            body = {
                **where,
                "stage": plan.stage,
                "plan": plan.hash,
                "event": plan.event().to_dict(),
                "opened": begun.opened_at,
                "states": states,
                "verdicts": said,
                "aggregates": aggregates,
                "kept": keep_releases,
                **({} if summed is None else {"sum": dict(summed)}),
            }
            self._record(connection, Kind.ROUND, body)
        self._aside.clear(plan.campaign)
        _told(plan, verdicts, seconds)
        return states

    @contextmanager
    def _not_kept_if_refused(self, digests: Collection[str]) -> Iterator[None]:
        """Remove what was kept of these where the round may not be committed after all."""
        try:
            yield
        except (HospitalRevoked, CampaignStopped):
            self._kept.remove(digests)
            raise

    def memories(self, campaign: str) -> dict[str, bytes]:
        """What each expert's server optimiser remembers after the last round that trained it, where it remembers."""
        table = tables.aggregates
        query = (
            committed.where(table, campaign=campaign)
            .where(table.c.memory.is_not(None))
            .order_by(table.c.number)
        )
        with self._database.transaction() as connection:
            last = {row.expert: row.memory for row in connection.execute(query)}
        return {expert: self._blobs.get(digest) for expert, digest in last.items()}

    def release(self, digest: str) -> bytes:
        """The bytes of a kept release."""
        return self._kept.get(digest)

    def prune(self, campaign: str, last: int) -> int:
        """Remove the kept releases of all rounds but the `last` so many; how many there were. The journal tells of it, first.

        Raises `StoreError` where the campaign never began.
        """
        verdicts = tables.verdicts
        with self._database.transaction() as connection:
            through = committed.last(connection, campaign).number - last
            if through < 1:
                return 0
            query = sql.select(verdicts.c.digest).where(
                (verdicts.c.campaign == campaign)
                & (verdicts.c.number <= through)
                & verdicts.c.fault.is_(None)
            )
            digests = list(connection.scalars(query))
            body = {"campaign": campaign, "through": through}
            told = tuple(whole(journal.read(connection, self._key.public)))
            if body not in (e.body for e in told if e.kind == Kind.PRUNING):
                self._record(connection, Kind.PRUNING, body)
        of_rounds = [e.body for e in told if e.kind == Kind.ROUND and e.body["campaign"] == campaign]
        digests += [d for body in of_rounds if body["number"] <= through for d in messages_of(body)]
        return self._kept.remove(digests)

    def _update_round(self, connection: sql.Connection, plan: Plan, **values: Any) -> None:
        table = tables.rounds
        this = (table.c.campaign == plan.campaign) & (table.c.number == plan.round)
        connection.execute(table.update().where(this).values(**values))


def _told(plan: Plan, verdicts: Sequence[Verdict], seconds: Mapping[str, float]) -> None:
    """A round that stands, in the log."""
    where = Name(plan.campaign), Ordinal(plan.round)
    for verdict in verdicts:
        if verdict.fault is not None:
            tell(ReleaseRefused(*where, Name(verdict.hospital), closed(verdict.fault)))
    phases = (Seconds(round(seconds.get(phase, 0.0), 3)) for phase in ("gather", "wait", "aggregate"))
    tell(RoundCommitted(*where, *phases))

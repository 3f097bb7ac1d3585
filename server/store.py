"""What the consortium remembers. A round stands when its one transaction ended, and not a moment before.

Order: `begin` a campaign, `open_round` (its plan is kept, so that every asking has the same bytes), `asked`
and `answered` as it goes (for eyes only), `commit_round` with states, verdicts, receipts and the journal's
entry at once. Every decision is an entry of the journal: hash-chained and signed by the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from privacy import canonical
from privacy.evaluation import NoisedEvaluation
from privacy.events import Bytes, Name, Ordinal, Seconds, tell
from privacy.handover import Handover
from privacy.keys import PrivateKey
from privacy.ledger.entries import Entry
from privacy.ledger.parts import whole
from privacy.plan import Plan
from server import hospitals, journal, noised_record, resigned, tables
from server.aside import Aside
from server.blobs import Blobs
from server.campaign import Campaign, Progress, definition_hash
from server.errors import CampaignChanged, StoreError
from server.events import (
    CampaignDone,
    CampaignFailed,
    HospitalAnswered,
    ReleaseRefused,
    RoundCommitted,
    RoundOpened,
    closed,
)
from server.journal import MAX_BODY, Kind
from server.kept import Kept
from server.membership import Membership
from server.records import REVOKED, NoisedAnswer, OpenEvaluation, OpenRound, Owed, Row, RunState
from strategies.intake import Aggregated, Verdict
from strategies.summed import messages_of


class Store(Membership):
    """The consortium's database and expert files. Opening it verifies the journal (`StoreError`)."""

    def __init__(
        self,
        database: tables.Database,
        blobs: Blobs,
        aside: Aside,
        kept: Kept,
        key: PrivateKey,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__(database, key, now)
        self._blobs = blobs
        self._aside = aside
        self._kept = kept
        self.journal()

    # --- the campaign

    def begin(self, campaign: Campaign, initial: Mapping[str, bytes], run_id: str) -> None:
        """Start the campaign, or take it up again where it stands.

        Raises `CampaignChanged` where the name was begun under another definition.
        """
        states = {name: self._blobs.put(data) for name, data in initial.items()}
        definition = campaign.defined(states).to_dict()
        with self._database.transaction() as connection:
            row = connection.execute(_where(tables.campaigns, name=campaign.name)).one_or_none()
            if row is None:
                new = {
                    "name": campaign.name,
                    "definition": canonical.encode(definition),
                    "rounds": campaign.rounds,
                    "begun_at": self._when(),
                }
                connection.execute(tables.campaigns.insert(), [{**new, **self._running(run_id)}])
                first = {
                    "campaign": campaign.name,
                    "number": 0,
                    "stage": "start",
                    "plan": b"",
                    "signature": b"",
                    "opened_at": self._when(),
                    "attempts": 0,
                    "committed_at": self._when(),
                    "states": states,
                    "seconds": {},
                }
                connection.execute(tables.rounds.insert(), [first])
                self._record(connection, Kind.CAMPAIGN, {"definition": definition})
                return
            _check_definition(campaign.name, row.definition, definition)
            update = tables.campaigns.update().where(tables.campaigns.c.name == campaign.name)
            connection.execute(update.values(**self._running(run_id)))

    def doing(self, campaign: str, what: str) -> None:
        """Say what the campaign does now."""
        self._set(campaign, doing=what)

    def finished(self, campaign: str) -> None:
        """The campaign is done."""
        self._set(campaign, state="done", doing="done")
        tell(CampaignDone(Name(campaign)))

    def failed(self, campaign: str, why: str) -> None:
        """This run of the campaign ended early; another may take it up."""
        self._set(campaign, state="failed", failure=why)
        tell(CampaignFailed(Name(campaign)))

    def progress(self, campaign: str) -> Progress:
        """What is committed."""
        with self._database.transaction() as connection:
            points = connection.scalars(
                sql.select(tables.evaluations.c.point)
                .where(tables.evaluations.c.campaign == campaign)
                .distinct()
            )
            noised = noised_record.points(connection, campaign)
            return Progress(self._last(connection, campaign).number, frozenset(points), noised)

    def run_state(self, campaign: str) -> RunState | None:
        """Where it stands; None where it never began."""
        with self._database.transaction() as connection:
            row = connection.execute(_where(tables.campaigns, name=campaign)).one_or_none()
            if row is None:
                return None
            last = self._last(connection, campaign)
            return RunState(
                row.state, row.run_id, row.doing, row.failure, row.rounds, last.number, last.states
            )

    def campaigns(self) -> list[str]:
        """Every campaign that was begun, in order."""
        with self._database.transaction() as connection:
            return list(connection.scalars(sql.select(tables.campaigns.c.name).order_by("begun_at")))

    def states(self, campaign: str, number: int | None = None) -> dict[str, str]:
        """The hash of every expert's state after round `number` (0: the start); None: the last one committed.

        Raises `StoreError` where that round is not committed.
        """
        with self._database.transaction() as connection:
            if number is None:
                return dict(self._last(connection, campaign).states)
            return self._states_after(connection, campaign, number)

    def check_definition(self, campaign: Campaign) -> None:
        """Raise `CampaignChanged` where the campaign was begun under another definition, `StoreError` if never."""
        with self._database.transaction() as connection:
            definition = campaign.defined(self._states_after(connection, campaign.name, 0)).to_dict()
            row = connection.execute(_where(tables.campaigns, name=campaign.name)).one()
            _check_definition(campaign.name, row.definition, definition)

    def evaluation(self, campaign: str, point: str) -> list[Row]:
        """The evaluator's rows at a point, none where it was not evaluated there."""
        with self._database.transaction() as connection:
            found = connection.execute(_where(tables.evaluations, campaign=campaign, point=point))
            return [Row(**{key: row[key] for key in Row.__dataclass_fields__}) for row in found.mappings()]

    def state(self, digest: str) -> bytes:
        """The bytes of an expert's state."""
        return self._blobs.get(digest)

    def memories(self, campaign: str) -> dict[str, bytes]:
        """What each expert's server optimiser remembers after the last round that trained it, where it remembers."""
        table = tables.aggregates
        query = _where(table, campaign=campaign).where(table.c.memory.is_not(None)).order_by(table.c.number)
        with self._database.transaction() as connection:
            last = {row.expert: row.memory for row in connection.execute(query)}
        return {expert: self._blobs.get(digest) for expert, digest in last.items()}

    # --- a round

    def open_round(self, plan: Plan) -> OpenRound:
        """Begin a round, or a further attempt at one that was begun. The first asking's bytes are kept for
        good.

        Raises `StoreError` where the round is not the next, or was begun under another plan.
        """
        with self._database.transaction() as connection:
            last = self._last(connection, plan.campaign)
            if plan.round != last.number + 1:
                raise StoreError(
                    f"round {plan.round} of {plan.campaign} can't begin: {last.number} are committed"
                )
            row = connection.execute(
                _where(tables.rounds, campaign=plan.campaign, number=plan.round)
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
        distributed trust. Raises `HospitalRevoked` where one whose release was accepted was revoked meanwhile.
        """
        plan = opened.plan
        if keep_releases:
            accepted = {v.digest for v in verdicts if v.fault is None} | messages_of({"sum": summed or {}})
            self._kept.take(self._aside.path(plan.campaign, digest) for digest in sorted(accepted))
        fresh = {name: self._blobs.put(found.state) for name, found in trained.items()}
        aggregates = {
            name: {
                "report": dict(found.report),
                "memory": None if found.memory is None else self._blobs.put(found.memory),
            }
            for name, found in trained.items()
        }
        with self._database.transaction() as connection:
            last = self._last(connection, plan.campaign)
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
            begun = connection.execute(_where(tables.rounds, campaign=plan.campaign, number=plan.round)).one()
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

    def release(self, digest: str) -> bytes:
        """The bytes of a kept release."""
        return self._kept.get(digest)

    def prune(self, campaign: str, last: int) -> int:
        """Remove the kept releases of all rounds but the `last` so many; how many there were. The journal tells of it, first.

        Raises `StoreError` where the campaign never began.
        """
        verdicts = tables.verdicts
        with self._database.transaction() as connection:
            through = self._last(connection, campaign).number - last
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

    def commit_evaluation(self, campaign: str, point: str, rows: Sequence[Row], number: int) -> None:
        """Keep the rows of an evaluation after round `number`. There is one for each point, with a row at least."""
        if not rows:
            raise StoreError(f"an evaluation of {campaign} at {point} without a row")
        values = [{"campaign": campaign, "point": point, **vars(row)} for row in rows]
        with self._database.transaction() as connection:
            connection.execute(tables.evaluations.insert(), values)
            states = self._states_after(connection, campaign, number)
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
            states = self._last(connection, request.campaign).states
            self._record(connection, Kind.EVALUATION, {**body, "states": states})

    # --- receipts

    def owed(self) -> dict[str, Owed]:
        """The oldest receipt that each hospital has not taken yet."""
        table = tables.receipts
        query = sql.select(table).where(table.c.delivered_at.is_(None)).order_by(sql.text("rowid"))
        with self._database.transaction() as connection:
            oldest: dict[str, Owed] = {}
            for row in connection.execute(query):
                if row.hospital not in oldest:
                    oldest[row.hospital] = Owed(row.campaign, row.number, row.hospital, row.data)
            return oldest

    def delivered(self, owed: Owed, answer: str) -> None:
        """A hospital has taken this receipt; `answer` says whether it was kept or refused."""
        table = tables.receipts
        where = (table.c.campaign == owed.campaign) & (table.c.number == owed.number)
        this = table.update().where(where & (table.c.hospital == owed.hospital))
        with self._database.transaction() as connection:
            connection.execute(this.values(delivered_at=self._when(), answer=answer))

    # --- the journal

    def journal(self) -> list[Entry]:
        """All entries, verified. Raises `StoreError`, naming the first that was changed."""
        with self._database.transaction() as connection:
            return journal.read(connection, self._key.public)

    def successions(self) -> list[Handover]:
        """How the coordinator's key came from its first one, as hospitals are told."""
        return journal.successions(self.journal())

    def rotate(self, consortium: str, new: PrivateKey) -> None:
        """Hand the journal over to a new key; what the old one signed and hospitals are still to get is signed anew.

        No campaign may run meanwhile.
        """
        with self._database.transaction() as connection:
            journal.rotate(connection, self._now(), consortium, self._key, new)
            resigned.sign_anew(connection, self._key.public, new)
        self._key = new

    def read(self, query: sql.Select[Any]) -> list[dict[str, Any]]:
        """Rows for `server.status`."""
        with self._database.transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    # --- inside a transaction

    def _last(self, connection: sql.Connection, campaign: str) -> sql.Row[Any]:
        """The last committed round; round 0 is there from the beginning."""
        table = tables.rounds
        committed = (table.c.campaign == campaign) & table.c.committed_at.is_not(None)
        query = sql.select(table).where(committed).order_by(table.c.number.desc()).limit(1)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise StoreError(f"campaign {campaign!r} was never begun")
        return row

    def _states_after(self, connection: sql.Connection, campaign: str, number: int) -> dict[str, str]:
        row = connection.execute(_where(tables.rounds, campaign=campaign, number=number)).one_or_none()
        if row is None or row.committed_at is None:
            what = f"round {number} of campaign {campaign!r} is not committed"
            raise StoreError(what if number else f"campaign {campaign!r} was never begun")
        return dict(row.states)

    def _update_round(self, connection: sql.Connection, plan: Plan, **values: Any) -> None:
        table = tables.rounds
        this = (table.c.campaign == plan.campaign) & (table.c.number == plan.round)
        connection.execute(table.update().where(this).values(**values))

    def _set(self, campaign: str, **values: str) -> None:
        update = tables.campaigns.update().where(tables.campaigns.c.name == campaign)
        with self._database.transaction() as connection:
            connection.execute(update.values(changed_at=self._when(), **values))

    def _running(self, run_id: str) -> dict[str, str | None]:
        return {
            "state": "running",
            "run_id": run_id,
            "changed_at": self._when(),
            "doing": "starting",
            "failure": None,
        }


def _told(plan: Plan, verdicts: Sequence[Verdict], seconds: Mapping[str, float]) -> None:
    """A round that stands, in the log."""
    where = Name(plan.campaign), Ordinal(plan.round)
    for verdict in verdicts:
        if verdict.fault is not None:
            tell(ReleaseRefused(*where, Name(verdict.hospital), closed(verdict.fault)))
    phases = (Seconds(round(seconds.get(phase, 0.0), 3)) for phase in ("gather", "wait", "aggregate"))
    tell(RoundCommitted(*where, *phases))


def _check_definition(name: str, begun: bytes, definition: Mapping[str, Any]) -> None:
    if begun != canonical.encode(definition):
        before = definition_hash(canonical.decode(begun, MAX_BODY))
        raise CampaignChanged(
            f"campaign {name!r} was begun under another definition ({before[:12]}, not "
            f"{definition_hash(definition)[:12]}): restore that file, or give this one another name"
        )


def _where(table: sql.Table, **values: object) -> sql.Select[Any]:
    return sql.select(table).filter_by(**values)

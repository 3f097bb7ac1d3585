"""The hospital's ledger: `Account` made durable.

    reserve -> (train, seal) -> spend -> (check, log) -> reply

`reserve` is durable before training and `spend`, with the releases' bytes, before the reply; so whatever
instant the process dies at, what was sent is on record, and what is on record as unspent was never sent.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from privacy import canonical
from privacy.codes import Refusal, SecaggFault
from privacy.egress_record import EgressRecord
from privacy.errors import LedgerError, RoundConflict
from privacy.evaluation import NoisedEvaluation
from privacy.handover import Handover
from privacy.keys import PrivateKey, PublicKey
from privacy.ledger import budget, gates
from privacy.ledger.account import Account, Installed, Reservation, Selftest, Spend
from privacy.ledger.database import Database, Transaction
from privacy.ledger.entries import Entry, Kind, follow, moment, rotation
from privacy.ledger.reading import Book, Summary, departures, read, summarise
from privacy.mechanism import Event
from privacy.plan import TRAINING, Plan
from privacy.policy import Policy
from privacy.receipt import Receipt


class Ledger:
    """One hospital's ledger.  Opening it verifies every entry (`LedgerError` names the first bad one).

    `place` is a SQLite file, made where there is none, or a PostgreSQL database's URL.  Any number of processes
    may open the same one; each change is one transaction that first reads what others wrote.  `key` must be
    the one that holds the ledger: the first, or the one that it was last rotated to.
    """

    def __init__(
        self,
        place: Path | str,
        key: PrivateKey,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = Database(place)
        self._key = key
        self._clock = clock
        self._composed = budget.Compositions()
        with self._database.transaction() as transaction:
            self._book = Book.open(transaction, key.public)
            self._book.check_outbox(transaction)
        self._check_key()

    def adopt(self, policy: Policy) -> None:
        """Record that the hospital goes by `policy` from now on; nothing where it does so already.

        For an agent between rounds, and for who changes the policy: what leaves, and the epsilon that is told with it, is
        judged by the policy in force.
        """
        with self._current() as (transaction, account):
            self._adopted(transaction, account, policy, self._clock())

    def policy(self) -> Mapping[str, Any] | None:
        """The policy in force, as it was recorded; None before the first."""
        return self._read().policy

    def goes_by(self, policy: Policy) -> bool:
        """Whether no other than `policy` is in force."""
        return self._read().policy_hash in (None, policy.hash)

    def open_rounds(self) -> tuple[Reservation, ...]:
        """What is reserved and neither spent nor void."""
        return tuple(self._read().open.values())

    # --- a round

    def check_begin(self, asked: Plan | NoisedEvaluation, policy: Policy, code_hash: str) -> None:
        """Return if code, campaign and hour let what is asked begin, or go on; else raise `PlanRefused`."""
        account = self._read()
        gates.check(account, asked, policy, code_hash, self._now(account))

    def admit(self, asked: Plan | NoisedEvaluation, policy: Policy, code_hash: str) -> None:
        """Return if `reserve` would charge this now, and charge nothing; else raise `PlanRefused`."""
        account = self._read()
        budget.admit(account, asked, policy, code_hash, self._now(account), self._composed)

    def reserve(self, asked: Plan | NoisedEvaluation, policy: Policy, code_hash: str) -> Reservation:
        """Charge a plan's round, or a noised evaluation, durably, before the work.

        Raises `PlanRefused` (`BudgetError` with `rounds_left`, `RoundConflict`) and then writes nothing.
        """
        with self._current() as (transaction, account):
            now = self._now(account)  # judged at the moment that the entry bears
            budget.admit(account, asked, policy, code_hash, now, self._composed)
            current = self._adopted(transaction, account, policy, now)
            body = {
                "campaign": asked.campaign,
                "round": asked.round,
                "stage": asked.stage,
                "experts": list(
                    asked.restricted(policy.experts)
                    if isinstance(asked, Plan)
                    else sorted(asked.experts_hash)
                ),
                "base": asked.base_hash,
                "plan": asked.hash,
                "policy": policy.hash,
                "code": code_hash,
                "event": asked.event().to_dict(),
            }
            after = self._append(transaction, current, Kind.RESERVATION, body, now)
            (new,) = set(after.open) - set(account.open)
            return after.open[new]

    def spend(self, reservation: Reservation, releases: Mapping[str, bytes]) -> None:
        """Record that `releases` (by expert; an evaluation's under "counts") are about to leave, with their bytes,
        durably, before the reply.

        Raises `LedgerError` where the reservation is not open any more, or where there is nothing to send.
        """
        if not releases:
            raise LedgerError("nothing to spend on: void the reservation instead")
        with self._current() as (transaction, account):
            parts = {
                expert: {"sha256": canonical.digest(data), "bytes": len(data)}
                for expert, data in releases.items()
            }
            body = {"reservation": reservation.hash, "releases": parts}
            self._append(transaction, account, Kind.SPEND, body)
            for expert, data in releases.items():
                transaction.put_release(reservation.hash, expert, data)

    def void(self, reservation: Reservation) -> None:
        """Close a reservation whose work failed, so that its round may be reserved again.  Raises `LedgerError`.

        It stays charged: that the work failed is known outside, and may depend on who was drawn.
        """
        with self._current() as (transaction, account):
            self._append(transaction, account, Kind.VOID, {"reservation": reservation.hash})

    def unspent(self, policy: Policy, code_hash: str) -> tuple[Reservation, ...]:
        """The open reservations of rounds that may still go on: under this policy, by this code, which did not
        fail its self-test.
        """
        account = self._read()
        tested = account.selftests.get(code_hash)
        if tested is not None and not tested.passed:
            return ()
        return tuple(
            one
            for one in account.open.values()
            if (one.purpose, one.policy_hash, one.code_hash) == (TRAINING, policy.hash, code_hash)
        )

    def void_unspent(self, keep: Collection[Reservation] = ()) -> int:
        """Void every open reservation but these, and return how many; for an agent that is not at work.

        Certain to be right there: a spend is durable before its reply, so an unspent reservation sent
        nothing; and an agent that should still be training finds its reservation closed when it would spend.
        """
        kept = {reservation.hash for reservation in keep}
        with self._current() as (transaction, account):
            current = account
            voided = [held for held in account.open if held not in kept]
            for reservation in voided:
                current = self._append(transaction, current, Kind.VOID, {"reservation": reservation})
            return len(voided)

    def sent(
        self, campaign: str, number: int, plan_hash: str, purpose: str = TRAINING
    ) -> Mapping[str, bytes] | None:
        """The very bytes that answered this round (or the evaluation after it) before, as `spend` was given them.

        None where it was not answered. Raises `RoundConflict` where it was answered under another plan or
        request, and `LedgerError` where the kept bytes are not those that were paid for.
        """
        with self._current() as (transaction, account):
            spend = account.spent.get((campaign, number, purpose))
            if spend is None:
                return None
            if spend.reservation.plan_hash != plan_hash:
                raise RoundConflict(f"round {number} of {campaign} was answered under another plan")
            releases = transaction.releases(spend.reservation.hash)
        if {expert: canonical.digest(data) for expert, data in releases.items()} != spend.releases:
            raise LedgerError(
                f"the kept releases of round {number} of {campaign} are not those that were paid for"
            )
        return releases

    def paid(self, campaign: str, number: int) -> Reservation:
        """What paid for a spent round. Raises `LedgerError` for a round that was not spent."""
        return self._spend(campaign, number, TRAINING).reservation

    def release_key(self, campaign: str, number: int, purpose: str = TRAINING) -> PublicKey:
        """The key that sealed what answered a spent round (or evaluation): the one that held the ledger then.

        Raises `LedgerError` for a round that was not spent.
        """
        spend = self._spend(campaign, number, purpose)
        older = [old for sequence, old in self._read().rotations if sequence > spend.sequence]
        return PublicKey(bytes.fromhex(older[0])) if older else self._key.public

    def log_egress(self, records: Sequence[EgressRecord]) -> None:
        """Write what is about to leave in one reply.  Raises `LedgerError` for a release that nothing paid for."""
        if not records:
            return
        epsilon = records[0].epsilon
        body = {
            "destination": records[0].destination,
            "epsilon": epsilon if math.isfinite(epsilon) else None,
            "parts": [{"name": r.name, "sha256": r.sha256, "bytes": r.bytes} for r in records],
        }
        self._write(Kind.RELEASE, body)

    def receipt(self, data: bytes, coordinator: PublicKey) -> None:
        """Keep the coordinator's signed receipt; the same one again changes nothing.

        Raises `SignatureInvalid`, `WireError`, or `LedgerError` where it acknowledges what was not sent.
        """
        receipt = Receipt.open(data, coordinator)
        with self._current() as (transaction, account):
            if (receipt.campaign, receipt.round) not in account.receipts:
                body = {
                    "receipt": receipt.to_dict(),
                    "signed": data.hex(),
                    "coordinator": coordinator.raw.hex(),
                }
                self._append(transaction, account, Kind.RECEIPT, body)

    # --- what else happened

    def succeeded(self, handovers: Sequence[Handover]) -> None:
        """Record by which keys the coordinator's was followed; what is on record is not recorded again.

        The handovers must have been verified (`privacy.handover.successors`); else `LedgerError`.
        """
        with self._current() as (transaction, account):
            latest = account
            for handover in handovers:
                fields = handover.to_dict()
                if (fields["old"], fields["new"]) not in latest.successions:
                    body = {"consortium": handover.name, **fields}
                    latest = self._append(transaction, latest, Kind.SUCCESSION, body)

    def refuse(self, code: Refusal | SecaggFault, plan_hash: str | None) -> None:
        """Record that a plan was refused (None: there was no readable plan)."""
        self._write(Kind.REFUSAL, {"code": str(code), "plan": plan_hash})

    def withdrawn(self, patients: int) -> None:
        """Record how many patients have withdrawn by now; nothing where that is on record.  No identity.

        Salted: an entry's hash leaves in releases, and must not tell the number to whoever tries small ones.
        """
        with self._current() as (transaction, account):
            if patients != account.withdrawn:
                self._append(
                    transaction,
                    account,
                    Kind.WITHDRAWAL,
                    {"withdrawn": patients, "salt": os.urandom(32).hex()},
                )

    def selftest(
        self,
        passed: bool,
        code_hash: str,
        findings: Sequence[str],
        bound: Mapping[str, float] | None = None,
    ) -> None:
        """Record a self-test's verdict on the code that it ran under; `findings` are names, not texts. `bound` holds the
        epsilon that was measured from below (`lower`) and the one claimed there (`claimed`).
        """
        body = {"passed": passed, "code": code_hash, "findings": list(findings)}
        self._write(Kind.SELFTEST, {**body, "bound": None if bound is None else dict(bound)})

    def last_selftest(self, code_hash: str) -> Selftest | None:
        """The last verdict on this code; None where it was never tested."""
        return self._read().selftests.get(code_hash)

    def approve(self, campaign: str, approved: bool) -> None:
        """Record that the hospital's IT approves this campaign, or does so no more; nothing where that is on record."""
        with self._current() as (transaction, account):
            if (campaign in account.approved) != approved:
                body = {"campaign": campaign, "approved": approved}
                self._append(transaction, account, Kind.APPROVAL, body)

    def approved(self) -> frozenset[str]:
        """The campaigns that are approved by name."""
        return self._read().approved

    def installed(self) -> Installed | None:
        """The code that the ledger goes by; None before any."""
        account = self._read()
        return None if account.code is None else Installed(account.code, account.version)

    def install(self, new: Installed, *, first: bool = False) -> None:
        """Record that the hospital's IT installed this code; nothing where it is on record.  `first` records it only
        where the ledger knows no code yet.
        """
        with self._current() as (transaction, account):
            before = None if account.code is None else Installed(account.code, account.version)
            if before != new and not (first and before is not None):
                body = {"before": None if before is None else asdict(before), "after": asdict(new)}
                self._append(transaction, account, Kind.UPGRADE, body)

    def rotate(self, new: PrivateKey) -> None:
        """Hand the ledger over to a new key, under the old one's signature and the new one's."""
        with self._current() as (transaction, account):
            self._append(transaction, account, Kind.ROTATION, rotation(account.last, self._key.public, new))
        self._key = new

    # --- reading

    def egress(self) -> list[tuple[str, EgressRecord]]:
        """All that left this hospital, oldest first, with its time."""
        return departures(self.entries())

    def entries(self) -> list[Entry]:
        """All entries, verified."""
        return read(self._database, self._key.public)[0]

    def verify(self, public_key: PublicKey) -> None:
        """Raise `LedgerError`, naming the first bad entry, unless all are in order under this hospital's key."""
        read(self._database, public_key)

    def epsilon(self, delta: float) -> float:
        """Epsilon of all that was spent or is reserved."""
        return self._composed.of(budget.TOTAL, self._read().events()).epsilon(delta)

    def epsilon_with(self, event: Event, delta: float) -> float:
        """Epsilon of all that was spent or is reserved, and of one such event more."""
        return self._composed.of(budget.TOTAL, self._read().events()).plus(event).epsilon(delta)

    def campaigns(self) -> Mapping[str, int]:
        """Every campaign that was paid for, in order of its first round: how often."""
        return Counter(charge.campaign for charge in self._read().charges())

    def rounds_left(self, plan: Plan, policy: Policy) -> int:
        """How many rounds like the plan's the policy's budgets still hold today."""
        account = self._read()
        now = self._now(account)
        return budget.rounds_left(account, plan.campaign, plan.event(), policy, now, self._composed)

    def rounds_left_like_the_last(self, policy: Policy) -> int | None:
        """How many rounds like the last one paid for, of its campaign, may still follow today; None before one."""
        account = self._read()
        if not (rounds := [charge for charge in account.charges() if charge.purpose == TRAINING]):
            return None
        now, last = self._now(account), rounds[-1]
        return budget.rounds_left(account, last.campaign, last.event, policy, now, self._composed)

    def limits(self, policy: Policy) -> tuple[budget.Limit, ...]:
        """The policy's limits today, each with what counts against it, for every campaign that there was."""
        account = self._read()
        return budget.limits(account, policy, account.campaigns(), self._now(account))

    def summary(self) -> Summary:
        """The ledger in figures, for the hospital's own eyes."""
        return summarise(self._read())

    @contextmanager
    def _current(self) -> Iterator[tuple[Transaction, Account]]:
        """A transaction, and the account after all entries that are in the database."""
        with self._database.transaction() as transaction:
            self._book = self._book.continued(transaction)
            self._check_key()
            yield transaction, self._book.account

    def _read(self) -> Account:
        """The account now; what is computed from it holds up no writer."""
        with self._current() as (_, account):
            return account

    def _spend(self, campaign: str, number: int, purpose: str) -> Spend:
        spend = self._read().spent.get((campaign, number, purpose))
        if spend is None:
            raise LedgerError(f"round {number} of {campaign} was not spent")
        return spend

    def _check_key(self) -> None:
        if self._book.signer != self._key.public:
            raise LedgerError(
                f"the ledger was handed over to the key {self._book.signer.fingerprint}, but this is "
                f"{self._key.public.fingerprint}: finish `fedpath-hospital rotate-key`, then start again"
            )

    def _now(self, account: Account) -> datetime:
        return moment(account.last, self._clock())

    def _write(self, kind: Kind, body: Mapping[str, Any]) -> None:
        with self._current() as (transaction, account):
            self._append(transaction, account, kind, body)

    def _adopted(self, transaction: Transaction, account: Account, policy: Policy, at: datetime) -> Account:
        if account.policy_hash == policy.hash:
            return account
        return self._append(transaction, account, Kind.POLICY, {"policy": policy.to_dict()}, at)

    def _append(
        self,
        transaction: Transaction,
        account: Account,
        kind: Kind,
        body: Mapping[str, Any],
        at: datetime | None = None,
    ) -> Account:
        entry = follow(account.last, kind, at or self._clock(), body, self._key)
        after = account.after(entry)  # refuses before anything is written
        transaction.append(entry)
        return after

"""What a ledger's entries amount to: a pure state machine.

The legal order, for each campaign's round:

    reservation ──> spend        the releases' bytes are stored with it; only then may they be sent
         └────────> void         certain that nothing was sent; the round may be reserved again

A reservation counts against the budget from the moment it is written until it is voided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from privacy import accounting
from privacy.errors import BudgetError, LedgerError, MechanismError, PlanRefused, RoundConflict
from privacy.ledger.entries import Entry, Kind
from privacy.mechanism import Event
from privacy.plan import Plan
from privacy.policy import Policy, refusal

_HERE = object()


@dataclass(frozen=True)
class Reservation:
    """Leave to train one plan, paid for.  `hash` is its ledger entry's.  Made from ledger entries only."""

    hash: str
    campaign: str
    round: int
    plan_hash: str
    code_hash: str
    event: Event
    made_by: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.made_by is not _HERE:
            raise LedgerError("a Reservation comes from the ledger only: nothing else has paid")


@dataclass(frozen=True)
class Spend:
    """A paid and answered round: the releases' SHA-256 by expert."""

    reservation: Reservation
    releases: Mapping[str, str]


@dataclass(frozen=True)
class Account:
    """The state after some entries.  Immutable: `after` gives the next."""

    last: Entry | None = None
    policy: Mapping[str, Any] | None = None
    open: Mapping[str, Reservation] = field(default_factory=dict)  # by reservation hash
    spent: Mapping[tuple[str, int], Spend] = field(default_factory=dict)  # by campaign and round
    voided: int = 0
    refused: int = 0
    receipts: frozenset[tuple[str, int]] = frozenset()

    def after(self, entry: Entry) -> Account:
        """The state after one more entry, whose place in the chain was checked.  Raises `LedgerError`."""
        step = _STEPS.get(entry.kind)
        if step is None:
            raise LedgerError(
                f"ledger entry {entry.sequence} is of an unknown kind {entry.kind!r}: update fedpath"
            )
        try:
            return replace(step(self, entry), last=entry)
        except (KeyError, TypeError, AttributeError, MechanismError) as error:
            raise LedgerError(
                f"ledger entry {entry.sequence} ({entry.kind}) is malformed: {error!r}"
            ) from error

    def events(self) -> tuple[Event, ...]:
        """All that counts against the budget: spent, and reserved but not voided."""
        spent = [spend.reservation.event for spend in self.spent.values()]
        return (*spent, *(reservation.event for reservation in self.open.values()))

    def admit(self, plan: Plan, policy: Policy) -> None:
        """Return if the plan may be reserved now; else raise `PlanRefused` (`RoundConflict`, `BudgetError`).

        The policy's limits are checked again here, so that no way to a reservation leads past them.
        """
        code = refusal(policy, plan, plan.base_hash)
        if code is not None:
            raise PlanRefused(
                code, f"the policy of {policy.hospital} does not allow plan {plan.hash}: {code}"
            )
        if (plan.campaign, plan.round) in self.spent:
            raise RoundConflict(f"round {plan.round} of {plan.campaign} was answered already")
        if any((held.campaign, held.round) == (plan.campaign, plan.round) for held in self.open.values()):
            raise RoundConflict(f"round {plan.round} of {plan.campaign} is being trained already")
        spent = accounting.epsilon(self.events(), policy.delta)
        then = accounting.epsilon([*self.events(), plan.event()], policy.delta)
        if then > policy.epsilon_budget:
            raise BudgetError(
                f"round {plan.round} of {plan.campaign} takes epsilon from {spent:.3f} to {then:.3f}, over "
                f"the budget of {policy.epsilon_budget:g} (delta {policy.delta:g}): 0 such rounds are left",
                rounds_left=0,
            )


def _policy(account: Account, entry: Entry) -> Account:
    return replace(account, policy=entry.body["policy"])


def _reservation(account: Account, entry: Entry) -> Account:
    body = entry.body
    reservation = Reservation(
        hash=entry.hash,
        campaign=body["campaign"],
        round=body["round"],
        plan_hash=body["plan"],
        code_hash=body["code"],
        event=Event.from_dict(body["event"]),
        made_by=_HERE,
    )
    return replace(account, open={**account.open, entry.hash: reservation})


def _close(account: Account, entry: Entry) -> tuple[Reservation, dict[str, Reservation]]:
    still_open = dict(account.open)
    reservation = still_open.pop(entry.body["reservation"], None)
    if reservation is None:
        raise LedgerError(
            f"ledger entry {entry.sequence} ({entry.kind}) closes a reservation that is not open"
        )
    return reservation, still_open


def _spend(account: Account, entry: Entry) -> Account:
    reservation, still_open = _close(account, entry)
    key = (reservation.campaign, reservation.round)
    if key in account.spent:
        raise LedgerError(f"ledger entry {entry.sequence} spends a round that was spent before")
    spend = Spend(reservation, dict(entry.body["releases"]))
    return replace(account, open=still_open, spent={**account.spent, key: spend})


def _void(account: Account, entry: Entry) -> Account:
    _, still_open = _close(account, entry)
    return replace(account, open=still_open, voided=account.voided + 1)


def _receipt(account: Account, entry: Entry) -> Account:
    receipt = entry.body["receipt"]
    return replace(account, receipts=account.receipts | {(receipt["campaign"], receipt["round"])})


def _refusal(account: Account, entry: Entry) -> Account:
    return replace(account, refused=account.refused + 1)


_STEPS: Mapping[str, Callable[[Account, Entry], Account]] = {
    Kind.POLICY: _policy,
    Kind.RESERVATION: _reservation,
    Kind.SPEND: _spend,
    Kind.VOID: _void,
    Kind.RECEIPT: _receipt,
    Kind.REFUSAL: _refusal,
}

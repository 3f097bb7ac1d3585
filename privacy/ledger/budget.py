"""Whether the budget holds one round more: of the whole ledger, of one campaign, of one day.

Epsilon is always that of the events which count against a limit, composed; nothing is added up.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from privacy import accounting
from privacy.accounting import Composition
from privacy.codes import Refusal
from privacy.errors import BudgetError, PlanRefused, RoundConflict
from privacy.evaluation import NoisedEvaluation
from privacy.ledger import gates
from privacy.ledger.account import Account
from privacy.mechanism import Event
from privacy.plan import Plan
from privacy.policy import Policy, refusal

TOTAL = "in all"


class Compositions:
    """What was composed before, kept, so that one round more costs one convolution however long the history.

    Keeps one composition a scope (a limit's name); a history that does not continue the kept one is composed
    anew.  It only remembers: with or without it, every epsilon is the same but for rounding up (`Composition`).
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[Event, ...], Composition]] = {}

    def of(self, scope: str, events: Sequence[Event]) -> Composition:
        """The composition of `events`, the history under the scope."""
        events = tuple(events)
        before, composed = self._kept.get(scope, ((), Composition()))
        if not before or events[: len(before)] != before:
            composed = Composition.of(events)
        else:
            for event in events[len(before) :]:
                composed = composed.plus(event)
        self._kept[scope] = (events, composed)
        return composed


@dataclass(frozen=True)
class Limit:
    """At most `epsilon` for the `events` that count against it.  `scope` says in words what it limits."""

    scope: str
    epsilon: float
    events: tuple[Event, ...]


def limits(account: Account, policy: Policy, campaigns: Collection[str], now: datetime) -> tuple[Limit, ...]:
    """The policy's limits at the ledger's time `now`: in all, for each of `campaigns`, and today."""
    found = [Limit(TOTAL, policy.epsilon_budget, account.events())]
    if policy.epsilon_per_campaign is not None:
        for campaign in campaigns:
            events = tuple(charge.event for charge in account.charges() if charge.campaign == campaign)
            found.append(Limit(f"for campaign {campaign}", policy.epsilon_per_campaign, events))
    if policy.epsilon_per_day is not None:
        day = now.date().isoformat()
        events = tuple(charge.event for charge in account.charges() if charge.day == day)
        found.append(Limit(f"on {day}", policy.epsilon_per_day, events))
    return tuple(found)


def admit(
    account: Account,
    asked: Plan | NoisedEvaluation,
    policy: Policy,
    code_hash: str,
    now: datetime,
    composed: Compositions,
) -> None:
    """Return if what is asked may be reserved now by the code `code_hash`; else raise `PlanRefused`
    (`RoundConflict`, `BudgetError`).

    The policy's limits, its hours and approvals, the code's record and its last self-test are checked here, so that no way
    to a reservation leads past them.  Code that was never tested may reserve: docs/selftest.md.
    """
    code = refusal(policy, asked, asked.base_hash)
    if code is not None:
        raise PlanRefused(code, f"the policy of {policy.hospital} does not allow {asked.hash}: {code}")
    gates.check(account, asked, policy, code_hash, now)
    tested = account.selftests.get(code_hash)
    if tested is not None and not tested.passed:
        raise PlanRefused(
            Refusal.SELFTEST_FAILED,
            f"the installed code failed its self-test at {tested.at} ({', '.join(tested.findings)}): mend or "
            "replace the installation, then run `fedpath-hospital selftest`",
        )
    what = f"the {asked.purpose} of round {asked.round} of {asked.campaign}"
    key = (asked.campaign, asked.round, asked.purpose)
    if key in account.spent:
        raise RoundConflict(f"{what} was answered already")
    if any(held.key == key for held in account.open.values()):
        raise RoundConflict(f"{what} is at work already")
    for limit in limits(account, policy, (asked.campaign,), now):
        so_far = composed.of(limit.scope, limit.events)
        then = so_far.plus(asked.event()).epsilon(policy.delta)
        if then > limit.epsilon:
            raise BudgetError(
                f"{what} takes epsilon from {so_far.epsilon(policy.delta):.3f} "
                f"to {then:.3f}, over the {limit.epsilon:g} that the policy allows {limit.scope} "
                f"(delta {policy.delta:g}): 0 such rounds are left",
                rounds_left=0,
            )


def rounds_left(
    account: Account, campaign: str, event: Event, policy: Policy, now: datetime, composed: Compositions
) -> int:
    """How many rounds of `campaign` that each spend `event` every limit still holds, today."""
    return min(
        accounting.rounds_left(composed.of(limit.scope, limit.events), event, limit.epsilon, policy.delta)
        for limit in limits(account, policy, (campaign,), now)
    )

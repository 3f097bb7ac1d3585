"""What was spent of each limit and by each campaign, reckoned again only where ledger, policy or day are others."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from privacy.ledger import budget
from privacy.ledger.account import Account
from privacy.ledger.budget import Compositions
from privacy.plan import TRAINING
from privacy.policy import Policy


@dataclass(frozen=True)
class Spent:
    """Epsilon spent of a limit; `scope` says in words what it limits."""

    scope: str
    spent: float
    most: float


@dataclass(frozen=True)
class CampaignSpent:
    """What one campaign was charged for: how many times, and the epsilon of these alone."""

    campaign: str
    charges: int
    epsilon: float


@dataclass(frozen=True)
class Spending:
    """All limits, that in all first; all campaigns, in the order of their first charge. `rounds_left`: how many rounds like
    the last one every limit still holds, None before the first.
    """

    limits: tuple[Spent, ...]
    campaigns: tuple[CampaignSpent, ...]
    rounds_left: int | None


class Reckoner:
    """Reckons, and remembers the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._composed = Compositions()
        self._last: tuple[tuple[object, ...], Spending] | None = None

    def spending(self, account: Account, policy: Policy) -> Spending:
        """Of this account under this policy, now."""
        now = datetime.now(UTC)
        last = account.last
        of = (last and last.hash, policy.hash, now.date())
        with self._lock:
            if self._last is None or self._last[0] != of:
                self._last = (of, self._reckoned(account, policy, now))
            return self._last[1]

    def _reckoned(self, account: Account, policy: Policy, now: datetime) -> Spending:
        limits = tuple(
            Spent(
                limit.scope, self._composed.of(limit.scope, limit.events).epsilon(policy.delta), limit.epsilon
            )
            for limit in budget.limits(account, policy, account.campaigns(), now)
        )
        campaigns = []
        for name in account.campaigns():
            events = tuple(charge.event for charge in account.charges() if charge.campaign == name)
            epsilon = self._composed.of(f"campaign {name}", events).epsilon(policy.delta)
            campaigns.append(CampaignSpent(name, len(events), epsilon))
        return Spending(limits, tuple(campaigns), self._rounds_left(account, policy, now))

    def _rounds_left(self, account: Account, policy: Policy, now: datetime) -> int | None:
        rounds = [charge for charge in account.charges() if charge.purpose == TRAINING]
        if not rounds:
            return None
        last = rounds[-1]
        return budget.rounds_left(account, last.campaign, last.event, policy, now, self._composed)

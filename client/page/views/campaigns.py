"""Campaigns: who asked, who is approved, what a round costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from client.asked_campaigns import Asked
from privacy import accounting
from privacy.ledger.account import Account
from privacy.policy import Policy


@dataclass(frozen=True)
class Campaign:
    """A campaign that was trained for, approved, or asks to be. `paid`: how often it was charged. `costs` and `then`: epsilon of
    the round that it asks for, alone and with all that was spent.
    """

    name: str
    approved: bool
    awaits: bool
    paid: int
    asked: Asked | None
    costs: float | None
    then: float | None


def campaigns(account: Account, asked: Sequence[Asked], policy: Policy) -> list[Campaign]:
    """Those that wait for an answer first, then by name."""
    charges = [charge.campaign for charge in account.charges()]
    waiting = {one.campaign: one for one in asked}
    spent = accounting.Composition.of(account.events())
    found = []
    for name in {*account.approved, *charges, *waiting}:
        one = waiting.get(name)
        approved = name in account.approved
        found.append(
            Campaign(
                name,
                approved,
                policy.approval == "manual" and not approved,
                charges.count(name),
                one,
                None if one is None else accounting.epsilon([one.event], policy.delta),
                None if one is None else spent.plus(one.event).epsilon(policy.delta),
            )
        )
    return sorted(found, key=lambda campaign: (not campaign.awaits, campaign.name))

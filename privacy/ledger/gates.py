"""What must stand open before anything is judged further: the recorded code, the approved campaign, the policy's hours.

Asked twice: before the work of judging begins, and in the transaction that reserves, at the very moment that the reservation
bears.  A round that was reserved may go on after the hours are over.
"""

from __future__ import annotations

from datetime import datetime

from privacy.codes import Refusal
from privacy.errors import PlanRefused
from privacy.evaluation import NoisedEvaluation
from privacy.ledger.account import Account
from privacy.plan import Plan
from privacy.policy import Policy


def check(
    account: Account, asked: Plan | NoisedEvaluation, policy: Policy, code_hash: str, now: datetime
) -> None:
    """Return if what is asked may begin, or go on, at the ledger's time `now`; else raise `PlanRefused`."""
    what = f"the {asked.purpose} of round {asked.round} of {asked.campaign}"
    if account.code not in (None, code_hash):
        raise PlanRefused(
            Refusal.UPGRADE_PENDING,
            f"{what}: the code {code_hash} is at work, and the ledger knows {account.code}: run `fedpath-hospital upgrade`",
        )
    if policy.approval == "manual" and asked.campaign not in account.approved:
        raise PlanRefused(
            Refusal.AWAITING_APPROVAL,
            f"{what}: nobody here approved it: see `fedpath-hospital campaigns`",
        )
    under_way = any(held.plan_hash == asked.hash for held in account.open.values())
    if policy.opening is not None and not under_way and not policy.opening.are_open(now):
        raise PlanRefused(
            Refusal.OUTSIDE_HOURS,
            f"{what}: the hours are over until {policy.opening.open_next(now).isoformat(timespec='minutes')}",
        )

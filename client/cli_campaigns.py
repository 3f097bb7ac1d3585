"""`fedpath-hospital campaigns` and `approve`: who asked, what it would cost, and this hospital's word on it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument, JsonOption
from client.completion import campaigns as completed
from privacy.command_line import answer


def campaigns(home: HomeArgument, as_json: JsonOption = False) -> None:
    """List the campaigns that were trained for, approved or ask to be: what a round costs by this hospital's accountant."""
    from client.asked_campaigns import AskedCampaigns
    from client.home import home_at
    from privacy import accounting, keys
    from privacy.ledger.store import Ledger

    with told_plainly():
        place = home_at(home)
        policy, ledger = place.policy, Ledger(place.ledger, keys.load(place.release_key))
        approved, paid = ledger.approved(), ledger.campaigns()
        asked = {one.campaign: one for one in AskedCampaigns(place.asked_campaigns).all()}
        told = []
        for name in sorted({*approved, *paid, *asked}):
            row: dict[str, Any] = {
                "campaign": name,
                "state": _state(name in approved, policy.approval),
                "paid": paid.get(name, 0),
            }
            if (one := asked.get(name)) is not None:
                row |= {
                    "first_asked": one.first,
                    "last_asked": one.last,
                    "asks_for": one.purpose,
                    "round": one.round,
                    "experts": list(one.experts),
                    "steps": one.steps,
                    "epsilon_of_a_round": accounting.epsilon([one.event], policy.delta),
                    "epsilon_in_all_then": ledger.epsilon_with(one.event, policy.delta),
                }
            told.append(row)
    if as_json:
        typer.echo(
            json.dumps(
                {"approval": policy.approval, "epsilon_budget": policy.epsilon_budget, "campaigns": told}
            )
        )
        return
    typer.echo(f"approval: {policy.approval}")
    for row in told:
        typer.echo(f"{row['campaign']}: {row['state']}; paid for {row['paid']} times")
        if "first_asked" in row:
            typer.echo(
                f"  asked first {row['first_asked']}, last {row['last_asked']}: {row['asks_for']} of "
                f"{', '.join(row['experts'])}, {row['steps']} steps"
            )
            typer.echo(
                f"  a round costs epsilon {row['epsilon_of_a_round']:.3f}, and then it is "
                f"{row['epsilon_in_all_then']:.3f} in all, of {policy.epsilon_budget:g} (delta {policy.delta:g})"
            )


def _state(approved: bool, approval: str) -> str:
    if approved:
        return "approved"
    return "awaiting approval" if approval == "manual" else "needs no approval"


def approve(
    home: HomeArgument,
    campaign: Annotated[
        str, typer.Argument(help="its name, as `campaigns` has it", autocompletion=completed)
    ],
    withdraw: Annotated[bool, typer.Option("--withdraw", help="approve it no more")] = False,
    as_json: JsonOption = False,
) -> None:
    """Approve a campaign by name, or withdraw that: a signed entry of the ledger, from the next plan on."""
    from client.errors import HomeError
    from client.home import home_at
    from privacy import keys
    from privacy.ledger.store import Ledger
    from privacy.plan import is_campaign

    with told_plainly():
        place = home_at(home)
        if not is_campaign(campaign):
            raise HomeError(
                f"{campaign!r} is no campaign's name: lower-case letters, digits, '.', '_' and '-'"
            )
        policy, ledger = place.policy, Ledger(place.ledger, keys.load(place.release_key))
        if withdraw and campaign not in ledger.approved():
            raise HomeError(f"{campaign}: is not approved: see `fedpath-hospital campaigns`")
        ledger.approve(campaign, not withdraw)
    facts = {"campaign": campaign, "approved": not withdraw, "approval": policy.approval}
    answer(facts, f"{campaign} is approved {'no more' if withdraw else 'from now on'}", as_json)
    if policy.approval != "manual":
        typer.echo(
            'the policy says approval = "automatic": campaigns need no approval, and none is kept out by this',
            err=True,
        )

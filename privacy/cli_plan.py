"""`fedpath-audit plan`: what rounds will cost a hospital, before they are run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.command_line import failed

if TYPE_CHECKING:
    from privacy import keys, planner
    from privacy.ledger.account import Account
    from privacy.mechanism import Event


@dataclass(frozen=True)
class _Hospital:
    spent: Sequence[Event]
    epsilon_budget: float | None
    delta: float


def plan(
    sampling_rate: Annotated[float, typer.Option(help="share of the patients that a step draws")],
    steps: Annotated[int, typer.Option(help="steps a round")],
    rounds: Annotated[int, typer.Option(help="rounds to look ahead", min=1, max=1000)] = 10,
    noise: Annotated[float | None, typer.Option(help="noise multiplier")] = None,
    epsilon: Annotated[float | None, typer.Option(help="find the noise that ends at this epsilon")] = None,
    delta: Annotated[float | None, typer.Option(help="needed where no ledger gives it")] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="a ledger's export or SQLite file: spent, budget, delta")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="that hospital's public key (.pub)")] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="rounds under distributed trust: docs/secagg.md")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="ask the second accountant too")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Find the noise for an epsilon, the rounds that a budget still holds, and what each round costs.

    Give --noise or --epsilon; and --delta, or --ledger with --key for what a hospital has spent, its budget
    and its delta.
    """
    from privacy import planner
    from privacy.errors import PrivacyError
    from privacy.mechanism import MECHANISM, SHARED, Event

    try:
        here = _hospital(ledger, key, delta)
        mechanism = SHARED if distributed else MECHANISM
        if noise is None and epsilon is not None:
            noise = planner.noise_for(
                epsilon, here.delta, sampling_rate, steps, rounds, here.spent, mechanism
            )
        elif noise is None or epsilon is not None:
            raise typer.BadParameter("give one of --noise and --epsilon")
        if noise == 0:
            raise ValueError("--noise 0 is no privacy, and no policy allows it: give one above 0")
        event = Event(noise, sampling_rate, steps, mechanism)
        outlook = planner.outlook(event, here.delta, rounds, here.spent, here.epsilon_budget)
        second = _second([*here.spent, *[event] * rounds], here.delta) if check else None
    except (PrivacyError, ValueError) as error:
        raise failed(str(error)) from None
    typer.echo(json.dumps(_figures(outlook, second)) if as_json else _words(outlook, second))


def _hospital(ledger: Path | None, key: Path | None, delta: float | None) -> _Hospital:
    from privacy import keys
    from privacy.policy import Policy

    if ledger is None and key is None and delta is not None:
        return _Hospital((), None, delta)
    if ledger is None or key is None or delta is not None:
        raise typer.BadParameter("give --delta, or --ledger with --key")
    account = _account(ledger, keys.load_public(key))
    if account.policy is None:
        raise ValueError(f"{ledger}: no policy was adopted yet: give --delta instead of --ledger")
    policy = Policy.from_dict(account.policy)
    return _Hospital(account.events(), policy.epsilon_budget, policy.delta)


def _account(ledger: Path, key: keys.PublicKey) -> Account:
    from privacy.audit.sources import read_source
    from privacy.ledger.database import Database
    from privacy.ledger.export import verify_export
    from privacy.ledger.reading import read

    source = read_source(ledger)
    if source.side is None:
        raise ValueError(f"{ledger}: {source.damage[0]}")
    if source.export is not None:
        return verify_export(source.export, key)
    return read(Database(ledger, read_only=True), key)[1]


def _second(events: Sequence[Event], delta: float) -> float:
    from privacy.second_accountant import epsilon  # imports torch, which takes seconds

    return epsilon(events, delta)


def _figures(outlook: planner.Outlook, second: float | None) -> dict[str, object]:
    """JSON values; null for an infinite epsilon."""
    figures = asdict(outlook) | {"costs": outlook.costs, "second_accountant": second}
    return {name: _finite(value) for name, value in figures.items()}


def _finite(value: object) -> object:
    if isinstance(value, tuple):
        return [_finite(item) for item in value]
    return None if value == math.inf else value


def _words(outlook: planner.Outlook, second: float | None) -> str:
    event = outlook.event
    lines = [
        f"noise multiplier {event.noise_multiplier:.4g}, sampling rate {event.sampling_rate:g}, "
        f"{event.steps} steps a round, delta {outlook.delta:g}",
        f"spent so far: epsilon {outlook.spent:.3f}",
        "rounds more   epsilon   costs",
    ]
    for number, (after, cost) in enumerate(zip(outlook.after, outlook.costs, strict=True), 1):
        lines.append(f"{number:11d} {after:9.3f} {cost:7.3f}")
    if second is not None:
        lines.append(f"second accountant, after all of these: epsilon {second:.3f}")
    if outlook.rounds_left is not None:
        more = " or more" if outlook.rounds_left == outlook.counted_to else ""
        lines.append(
            f"the budget of {outlook.epsilon_budget:g} holds {outlook.rounds_left}{more} such rounds"
        )
    return "\n".join(lines)

"""Epsilon by hospital, as far as the consortium knows it: of what it accepted, at the limits that its kits propose.

A hospital's own ledger is what counts: it charges rounds that were never committed too, and holds its own budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from pages.charts import Line, line_chart
from privacy.accounting import Composition, merged, rounds_left
from privacy.evaluation import NoisedEvaluation
from privacy.mechanism import Event
from privacy.plan import Plan

COUNTED_TO = 1000
_DRAWN = 16  # points of a curve
Values = Mapping[str, Any]
History = tuple[Event, ...]


@dataclass(frozen=True)
class Limits:
    """What the consortium's kit proposes to a hospital."""

    epsilon_budget: float
    delta: float


@dataclass(frozen=True)
class Account:
    """One hospital: `epsilon` at `limits.delta` over `rounds` accepted rounds; `left` how many rounds like the next one the
    proposed budget still holds, counted up to `COUNTED_TO`; None where nothing is under way or nothing proposed.
    """

    hospital: str
    rounds: int
    epsilon: float
    limits: Limits | None
    left: int | None

    @property
    def is_over(self) -> bool:
        """Whether the proposed budget is passed: the hospital's own must be larger."""
        return self.limits is not None and self.epsilon > self.limits.epsilon_budget


def histories(
    paid: Sequence[Values], plans: Mapping[tuple[str, int], bytes], counted: Sequence[Values]
) -> dict[str, History]:
    """Each hospital's events in order: of rounds whose releases were accepted, then of its noised evaluations."""
    found: dict[str, list[Event]] = {}
    for row in paid:
        found.setdefault(row["hospital"], []).append(event_of(plans[row["campaign"], row["number"]]))
    for row in counted:
        found.setdefault(row["hospital"], []).append(NoisedEvaluation.from_bytes(row["request"]).event())
    return {hospital: tuple(events) for hospital, events in found.items()}


@lru_cache(maxsize=8192)
def event_of(plan: bytes) -> Event:
    """What a round under this plan spends."""
    return Plan.from_bytes(plan).event()


def account(hospital: str, history: History, limits: Limits | None, coming: Event | None) -> Account:
    """The hospital's account; `coming` is what the next round spends."""
    if limits is None:
        return Account(hospital, len(history), math.nan, None, None)
    left = None
    if coming is not None:
        left = _left(_kinds(history), coming, limits)
    return Account(hospital, len(history), _epsilon(_kinds(history), limits.delta), limits, left)


def chart(accounts: Sequence[Account], histories: Mapping[str, History]) -> Markup:
    """Epsilon over rounds of the hospital that spent most and of the one that spent least, with the largest's budget."""
    known = sorted((a for a in accounts if a.limits is not None and a.rounds), key=lambda a: a.epsilon)
    if not known:
        return Markup("")
    drawn = [known[-1]] if known[-1].epsilon == known[0].epsilon else [known[-1], known[0]]
    lines = []
    for kind, one in zip(("line", "second"), drawn, strict=False):
        history, limits = histories[one.hospital], one.limits
        if limits is None:
            continue
        at = sorted({round(len(history) * n / _DRAWN) for n in range(_DRAWN + 1)})
        points = [(float(n), _epsilon(_kinds(history[:n]), limits.delta)) for n in at]
        lines.append(Line(one.hospital, points, kind, steps=True))
    top = known[-1].limits
    if top is not None:
        lines.append(
            Line(
                "budget", [(0.0, top.epsilon_budget), (float(known[-1].rounds), top.epsilon_budget)], "limit"
            )
        )
    return line_chart("Epsilon over accepted rounds", lines, "accepted rounds", "epsilon")


def _kinds(history: History) -> History:
    """Events in a form under which equal spending is looked up once: one of each noise, rate and mechanism."""
    by: dict[str, list[Event]] = {}
    for event in history:
        by.setdefault(event.mechanism, []).append(event)
    return tuple(
        Event(noise, rate, steps, mechanism=mechanism)
        for mechanism, events in sorted(by.items())
        for noise, rate, steps in sorted(merged(events))
    )


@lru_cache(maxsize=4096)
def _epsilon(history: History, delta: float) -> float:
    return Composition.of(history).epsilon(delta)


@lru_cache(maxsize=1024)
def _left(history: History, coming: Event, limits: Limits) -> int:
    return rounds_left(Composition.of(history), coming, limits.epsilon_budget, limits.delta, COUNTED_TO)

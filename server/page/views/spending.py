"""Epsilon by hospital, as far as the consortium knows it: of what it accepted, at the limits that its kits propose.

A hospital's own ledger is what counts: it charges rounds that were never committed too, and holds its own budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from pages.charts import Line, line_chart
from privacy.accounting import Composition, rounds_left
from privacy.evaluation import NoisedEvaluation
from privacy.mechanism import MOST_STEPS, Event
from privacy.plan import Plan

COUNTED_TO = 1000
_DRAWN = 16  # points of a curve, about
Values = Mapping[str, Any]
History = tuple[tuple[Event, int], ...]  # what was spent how often, in order
Kinds = tuple[tuple[Event, int], ...]  # one step of each kind, and how many of it


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
    accepted: Sequence[Values], plans: Mapping[tuple[str, str], bytes], counted: Sequence[Values]
) -> dict[str, History]:
    """Each hospital's history: `accepted` rounds by stage (all rounds of a stage spend the same), then noised evaluations.

    `plans` has one plan of each campaign's stage.
    """
    found: dict[str, list[tuple[Event, int]]] = {}
    for row in accepted:
        event = event_of(plans[row["campaign"], row["stage"]])
        found.setdefault(row["hospital"], []).append((event, row["rounds"]))
    for row in counted:
        event = NoisedEvaluation.from_bytes(row["request"]).event()
        found.setdefault(row["hospital"], []).append((event, 1))
    return {hospital: tuple(parts) for hospital, parts in found.items()}


@lru_cache(maxsize=1024)
def event_of(plan: bytes) -> Event:
    """What a round under this plan spends."""
    return Plan.from_bytes(plan).event()


def account(hospital: str, history: History, limits: Limits | None, coming: Event | None) -> Account:
    """The hospital's account; `coming` is what the next round spends."""
    count = rounds_of(history)
    if limits is None:
        return Account(hospital, count, math.nan, None, None)
    left = None if coming is None else rounds_ahead(history, coming, limits)
    return Account(hospital, count, epsilon_of(history, limits.delta), limits, left)


def most_spent(
    accepted: Sequence[Values],
    plans: Mapping[tuple[str, str], bytes],
    limits: Mapping[str, Limits | None],
) -> dict[str, float]:
    """By campaign: the largest epsilon that it alone took from any hospital whose delta is known."""
    by: dict[tuple[str, str], list[Values]] = {}
    for row in accepted:
        by.setdefault((row["campaign"], row["hospital"]), []).append(row)
    found: dict[str, float] = {}
    for (campaign, hospital), rows in by.items():
        proposed = limits.get(hospital)
        if proposed is not None:
            spent = epsilon_of(histories(rows, plans, ())[hospital], proposed.delta)
            found[campaign] = max(spent, found.get(campaign, 0.0))
    return found


def chart(accounts: Sequence[Account], histories: Mapping[str, History]) -> Markup:
    """Epsilon over rounds of the hospital that spent most and of the one that spent least, with the largest's budget."""
    known = sorted((a for a in accounts if a.limits is not None and a.rounds), key=lambda a: a.epsilon)
    if not known:
        return Markup("")
    drawn = [known[-1]] if known[-1].epsilon == known[0].epsilon else [known[-1], known[0]]
    lines = []
    for kind, one in zip(("line", "second"), drawn, strict=False):
        history, limits = histories[one.hospital], one.limits
        if limits is not None:
            points = [(float(n), epsilon_of(first(history, n), limits.delta)) for n in _drawn_at(one.rounds)]
            lines.append(Line(one.hospital, points, kind, steps=True))
    top = known[-1].limits
    if top is not None:
        budget = [(0.0, top.epsilon_budget), (float(known[-1].rounds), top.epsilon_budget)]
        lines.append(Line("budget", budget, "limit"))
    return line_chart("Epsilon over accepted rounds", lines, "accepted rounds", "epsilon")


def rounds_of(history: History) -> int:
    """How many parts it has."""
    return sum(times for _, times in history)


def first(history: History, count: int) -> History:
    """The history's first so many parts."""
    found: list[tuple[Event, int]] = []
    for event, times in history:
        taken = min(times, count)
        if taken:
            found.append((event, taken))
        count -= taken
    return tuple(found)


def epsilon_of(history: History, delta: float) -> float:
    """The accountant's epsilon of the whole history."""
    return _epsilon(_kinds(history), delta)


def rounds_ahead(history: History, coming: Event, limits: Limits) -> int:
    """How many rounds like `coming` the limits hold after `history`, counted up to `COUNTED_TO`.

    What is alike is spent as one, so it is asked how many such rounds fit beside all else: one search for all hospitals, and
    for a whole campaign. Rounds that were of another length may make it one less than there are; never more.
    """
    kinds, one = _kinds(history), _step(coming)
    rest = tuple((step, count) for step, count in kinds if step != one)
    spent = sum(count for step, count in kinds if step == one)
    counted = 2 * COUNTED_TO
    while counted * coming.steps < spent + COUNTED_TO * coming.steps:
        counted *= 2  # so that rounds to come ask the same
    most = _most(rest, coming, limits, counted)
    return min(COUNTED_TO, max(0, (most * coming.steps - spent) // coming.steps))


def _drawn_at(rounds: int) -> Iterable[int]:
    """Where a curve of so many rounds is drawn: places that stay where they are as it grows, and its end."""
    step = 1
    while rounds > step * _DRAWN:
        step *= 2
    return sorted({*range(0, rounds + 1, step), rounds})


def _kinds(history: History) -> Kinds:
    """The history in a form under which equal spending is looked up once: one step of each kind, and how many."""
    found: dict[Event, int] = {}
    for event, times in history:
        found[_step(event)] = found.get(_step(event), 0) + event.steps * times
    return tuple(sorted(found.items(), key=lambda kind: astuple(kind[0])))


def _step(event: Event) -> Event:
    return replace(event, steps=1)


def _composed(kinds: Kinds) -> Composition:
    """One event holds no more than `MOST_STEPS`."""
    events: list[Event] = []
    for step, count in kinds:
        whole, rest = divmod(count, MOST_STEPS)
        events += [replace(step, steps=MOST_STEPS)] * whole
        if rest:
            events.append(replace(step, steps=rest))
    return Composition.of(events)


@lru_cache(maxsize=4096)
def _epsilon(kinds: Kinds, delta: float) -> float:
    return _composed(kinds).epsilon(delta)


@lru_cache(maxsize=256)
def _most(rest: Kinds, coming: Event, limits: Limits, counted: int) -> int:
    """As many rounds as fit, up to `counted`: where so many do, one look is enough."""
    before, budget, delta = _composed(rest), limits.epsilon_budget, limits.delta
    if before.plus(coming, counted).epsilon(delta) <= budget:
        return counted
    return rounds_left(before, coming, budget, delta, counted)

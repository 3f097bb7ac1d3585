"""Every epsilon of a ledger, computed again from its events: by the accountant that hospitals use, and by a second.

The first is `privacy.accounting` (dp-accounting's PLD), the second whatever the caller gives: `privacy.cli` gives
`privacy.second_accountant` (Opacus' PRV), which needs torch, and which other people wrote by another method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from privacy.accounting import merged
from privacy.audit.findings import Code, Finding
from privacy.egress_record import COUNTS, RELEASE
from privacy.ledger.budget import TOTAL, Compositions
from privacy.ledger.entries import Entry, Kind
from privacy.mechanism import Event

ABSOLUTE, RELATIVE = 0.02, 0.01  # how far two epsilons for the same events may lie apart: 0.02 and 1 %
ROUNDING = 0.005  # how far a limit may seem to be passed: histories composed in another order differ by 0.001

Accountant = Callable[[Sequence[Event], float], float]
Limits = Mapping[str, float]


@dataclass(frozen=True)
class Total:
    """Epsilon of all that counts in one scope (the whole ledger, or a campaign), by both accountants."""

    scope: str
    events: int
    delta: float
    epsilon: float
    second: float


@dataclass(frozen=True)
class Point:
    """The ledger's epsilon from this time on, and the budget that the policy then gave it."""

    at: str
    epsilon: float
    budget: float


@dataclass(frozen=True)
class Figures:
    """A ledger in epsilons: totals at its end, and how it came to them."""

    totals: tuple[Total, ...] = ()
    curve: tuple[Point, ...] = ()
    findings: tuple[Finding, ...] = ()


def recompute(book: str, entries: Sequence[Entry], second: Accountant) -> Figures:
    """Go through a ledger's legal `entries`, and judge every epsilon that they state, allow or come to.

    A reply that carries what was paid for must state the epsilon of all charged by then, at the delta of a policy
    in force; a reservation may not pass its policy's limits (in all, by campaign, by day).  Both accountants
    compute each distinct history once.
    """
    walk = _Walk(book, second)
    for entry in entries:
        walk.step(entry)
    return Figures(tuple(walk.totals()), tuple(walk.curve), tuple(walk.findings))


def apart(one: float, other: float) -> bool:
    """Whether two epsilons for the same events are too far apart: more than 0.02 and 1 % of the larger."""
    if math.isinf(one) or math.isinf(other):
        return one != other
    return abs(one - other) > ABSOLUTE + RELATIVE * max(one, other)


@dataclass(frozen=True)
class _Charge:
    event: Event
    campaign: str
    day: str


@dataclass(frozen=True)
class _Rules:
    """What a policy says that matters here; the keys that it lacks limit nothing."""

    delta: float = 0.0
    limits: Limits = field(default_factory=dict)

    @classmethod
    def of(cls, policy: Mapping[str, Any]) -> _Rules:
        names = ("epsilon_budget", "epsilon_per_campaign", "epsilon_per_day")
        delta = float(policy["delta"])
        if not 0 < delta < 1:
            raise ValueError(f"delta must lie between 0 and 1, not {delta}")
        return cls(delta, {n: float(policy[n]) for n in names if policy.get(n) is not None})


class _Walk:
    def __init__(self, book: str, second: Accountant) -> None:
        self.curve: list[Point] = []
        self.findings: list[Finding] = []
        self._book = book
        self._second = second
        self._compositions = Compositions()
        self._seen: dict[tuple[object, float], tuple[float, float]] = {}
        self._rules = _Rules()
        self._spent: dict[str, _Charge] = {}
        self._open: dict[str, _Charge] = {}
        # Replies whose epsilon no policy known so far explains: the next one adopted may (it is adopted with the
        # first reservation under it, and the agent goes by it from its start).
        self._waiting: list[tuple[Entry, tuple[_Charge, ...]]] = []

    def step(self, entry: Entry) -> None:
        """Take one entry in."""
        body = entry.body
        if entry.kind == Kind.POLICY:
            self._adopt(entry)
            waiting, self._waiting = self._waiting, []
            for reply, charges in waiting:
                self._judge(reply, charges)
        elif entry.kind == Kind.RESERVATION:
            event = Event.from_dict(body["event"])
            self._open[entry.hash] = _Charge(event, body["campaign"], entry.at[:10])
            self._check_limits(entry)
            self._draw(entry)
        elif entry.kind == Kind.SPEND:
            self._spent[body["reservation"]] = self._open.pop(body["reservation"])
        elif entry.kind == Kind.VOID:
            del self._open[body["reservation"]]
            self._draw(entry)
        elif entry.kind == Kind.RELEASE and any(map(_is_paid, body["parts"])) and self._rules.delta:
            self._judge_or_wait(entry)

    def totals(self) -> Iterator[Total]:
        """At the end: in all, then each campaign; and what still waits is judged by the last policy."""
        for reply, charges in self._waiting:
            self._judge(reply, charges)
        charges = self._charges()
        for scope in (TOTAL, *dict.fromkeys(charge.campaign for charge in charges)):
            events = [charge.event for charge in charges if scope in (TOTAL, charge.campaign)]
            delta = self._rules.delta
            if delta:
                one, other = self._both(scope, events, delta, None)
                yield Total(scope, len(events), delta, one, other)

    def _adopt(self, entry: Entry) -> None:
        try:
            self._rules = _Rules.of(entry.body["policy"])
        except (KeyError, TypeError, ValueError):
            text = f"entry {entry.sequence} adopts a policy without a delta and limits that are numbers"
            self.findings.append(Finding(Code.ILLEGAL_ENTRY, self._book, entry.sequence, text))

    def _charges(self) -> tuple[_Charge, ...]:
        return (*self._spent.values(), *self._open.values())

    def _check_limits(self, entry: Entry) -> None:
        campaign, day = entry.body["campaign"], entry.at[:10]
        scopes: dict[str, tuple[str, Callable[[_Charge], bool]]] = {
            "epsilon_budget": (TOTAL, lambda charge: True),
            "epsilon_per_campaign": (f"for campaign {campaign}", lambda charge: charge.campaign == campaign),
            "epsilon_per_day": (f"on {day}", lambda charge: charge.day == day),
        }
        for name, limit in self._rules.limits.items():
            scope, counts = scopes[name]
            events = [charge.event for charge in self._charges() if counts(charge)]
            epsilon, _ = self._both(scope, events, self._rules.delta, entry.sequence)
            if epsilon > limit + ROUNDING:
                text = (
                    f"entry {entry.sequence} reserves round {entry.body['round']} of {campaign}, and takes epsilon to "
                    f"{epsilon:.3f} {scope}, where the policy allows {limit:g}"
                )
                self.findings.append(Finding(Code.OVER_BUDGET, self._book, entry.sequence, text))

    def _draw(self, entry: Entry) -> None:
        if self._rules.delta and "epsilon_budget" in self._rules.limits:
            events = [charge.event for charge in self._charges()]
            epsilon, _ = self._both(TOTAL, events, self._rules.delta, entry.sequence)
            self.curve.append(Point(entry.at, epsilon, self._rules.limits["epsilon_budget"]))

    def _judge_or_wait(self, entry: Entry) -> None:
        charges = self._charges()
        if apart(_stated(entry), self._epsilon(entry, charges)):
            self._waiting.append((entry, charges))

    def _judge(self, entry: Entry, charges: Sequence[_Charge]) -> None:
        stated, epsilon = _stated(entry), self._epsilon(entry, charges)
        if not apart(stated, epsilon):
            return
        code = Code.EPSILON_UNDERSTATED if stated < epsilon else Code.EPSILON_OVERSTATED
        text = (
            f"entry {entry.sequence} says that epsilon was {stated:.3f} when this reply left; the events that were "
            f"paid for by then come to {epsilon:.3f} at delta {self._rules.delta:g}"
        )
        self.findings.append(Finding(code, self._book, entry.sequence, text))

    def _epsilon(self, entry: Entry, charges: Sequence[_Charge]) -> float:
        events = [charge.event for charge in charges]
        return self._both(TOTAL, events, self._rules.delta, entry.sequence)[0]

    def _both(self, scope: str, events: Sequence[Event], delta: float, at: int | None) -> tuple[float, float]:
        """Epsilon by both accountants; where they disagree that is found, once for the same events."""
        key = (frozenset(merged(events)), delta)
        if key not in self._seen:
            one = self._compositions.of(scope, events).epsilon(delta)
            other = self._second(events, delta)
            self._seen[key] = (one, other)
            if apart(one, other):
                text = (
                    f"the accountants disagree on {len(events)} events {scope}: {one:.3f} by PLD, {other:.3f} by PRV, "
                    f"at delta {delta:g}"
                )
                self.findings.append(Finding(Code.ACCOUNTANTS_DISAGREE, self._book, at, text))
        return self._seen[key]


def _is_paid(part: Mapping[str, Any]) -> bool:
    return bool(part["name"].startswith(RELEASE) or part["name"] == COUNTS)


def _stated(entry: Entry) -> float:
    stated = entry.body["epsilon"]
    return math.inf if stated is None else float(stated)

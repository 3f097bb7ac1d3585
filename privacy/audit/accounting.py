"""Every epsilon of a ledger, computed again from its events: by the accountant that hospitals use, and by a second.

The first is `privacy.accounting` (dp-accounting's), the second whatever the caller gives: `privacy.cli` gives
`privacy.second_accountant` (Opacus'), which needs torch, and which other people wrote. They are PLD and PRV, two
methods; or Renyi divergences in both, where distributed trust took part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from privacy.accounting import any_shared, merged
from privacy.audit.findings import Code, Finding
from privacy.audit.rules import adopted
from privacy.egress_record import is_sealed
from privacy.ledger.budget import TOTAL, Compositions
from privacy.ledger.entries import Entry, Kind
from privacy.mechanism import Event
from privacy.policy import Policy

ABSOLUTE, RELATIVE = 0.02, 0.01  # how far two epsilons for the same events may lie apart: 0.02 and 1 %
ROUNDING = 0.005  # how far a limit may seem to be passed: histories composed in another order differ by 0.003

Accountant = Callable[[Sequence[Event], float], float]


@dataclass(frozen=True)
class Total:
    """Epsilon of all that counts in one scope (the whole ledger, or a campaign), by both accountants.

    At the smallest delta that any of its policies had: a policy adopted later makes no total look better.
    """

    scope: str
    events: int
    delta: float
    epsilon: float
    second: float


@dataclass(frozen=True)
class Point:
    """The ledger's epsilon from this time on, by both accountants, and the budget that the policy then gave it."""

    at: str
    epsilon: float
    second: float
    budget: float


@dataclass(frozen=True)
class Figures:
    """A ledger in epsilons: totals at its end, and how it came to them."""

    totals: tuple[Total, ...] = ()
    curve: tuple[Point, ...] = ()
    findings: tuple[Finding, ...] = ()


class Epsilons:
    """Both accountants' epsilon of each distinct history, computed once however many ledgers have it.

    A consortium's hospitals pay for the same rounds: without this, fifty ledgers take fifty times as long as one.
    """

    def __init__(self, second: Accountant) -> None:
        self._second = second
        self._compositions = Compositions()
        self._known: dict[tuple[object, float], tuple[Computed, Computed]] = {}

    def both(self, scope: str, events: Sequence[Event], delta: float) -> tuple[Computed, Computed]:
        """What each accountant says."""
        key = history(events, delta)
        if key not in self._known:
            self._known[key] = (
                _said(lambda: self._compositions.of(scope, events).epsilon(delta)),
                _said(lambda: self._second(events, delta)),
            )
        return self._known[key]


@dataclass(frozen=True)
class Computed:
    """An epsilon; infinite, with what went wrong, where the accountant failed."""

    epsilon: float
    failure: str | None = None


def history(events: Sequence[Event], delta: float) -> tuple[object, float]:
    """What an epsilon depends on."""
    return (frozenset(merged(events)), any_shared(events)), delta


def _said(ask: Callable[[], float]) -> Computed:
    try:
        return Computed(ask())
    except (ArithmeticError, ValueError, MemoryError) as error:
        return Computed(math.inf, repr(error))


def recompute(book: str, entries: Sequence[Entry], epsilons: Epsilons) -> Figures:
    """Go through a ledger's legal `entries`, and judge every epsilon that they state, allow or come to.

    A reply that carries what was paid for must state the epsilon of all charged by then, at the delta of the policy
    in force; a reservation may not pass that policy's limits (in all, by campaign, by day).  Both accountants
    compute each distinct history once; what one of them can't compute counts as infinite, and is found.
    """
    walk = _Walk(book, epsilons)
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


class _Walk:
    def __init__(self, book: str, epsilons: Epsilons) -> None:
        self.curve: list[Point] = []
        self.findings: list[Finding] = []
        self._book = book
        self._epsilons = epsilons
        self._judged: set[tuple[object, float]] = set()
        self._policy: Policy | None = None
        self._deltas: list[float] = []
        self._closed: list[_Charge] = []  # spent, or voided: charged for good
        self._open: dict[str, _Charge] = {}

    def step(self, entry: Entry) -> None:
        """Take one entry in."""
        body = entry.body
        if entry.kind == Kind.POLICY:
            found = adopted(entry)
            if isinstance(found, Policy):  # or else `rules` names it, and the one before stays in force
                self._policy = found
                self._deltas.append(found.delta)
        elif entry.kind == Kind.RESERVATION:
            event = Event.from_dict(body["event"])
            self._open[entry.hash] = _Charge(event, body["campaign"], entry.at[:10])
            if self._policy is not None:
                self._check_limits(entry, self._policy)
            self._draw(entry)
        elif entry.kind in (Kind.SPEND, Kind.VOID):
            self._closed.append(self._open.pop(body["reservation"]))
        elif entry.kind == Kind.RELEASE and any(is_sealed(part["name"]) for part in body["parts"]):
            self._judge(entry)

    def totals(self) -> Iterator[Total]:
        """At the end: in all, then each campaign."""
        if not self._deltas:
            return
        charges, delta = self._charges(), min(self._deltas)
        for scope in (TOTAL, *dict.fromkeys(charge.campaign for charge in charges)):
            events = [charge.event for charge in charges if scope in (TOTAL, charge.campaign)]
            one, other = self._both(scope, events, delta, None)
            yield Total(scope, len(events), delta, one, other)

    def _charges(self) -> tuple[_Charge, ...]:
        return (*self._closed, *self._open.values())

    def _check_limits(self, entry: Entry, policy: Policy) -> None:
        campaign, day = entry.body["campaign"], entry.at[:10]
        limits: tuple[tuple[str, float | None, Callable[[_Charge], bool]], ...] = (
            (TOTAL, policy.epsilon_budget, lambda charge: True),
            (
                f"for campaign {campaign}",
                policy.epsilon_per_campaign,
                lambda charge: charge.campaign == campaign,
            ),
            (f"on {day}", policy.epsilon_per_day, lambda charge: charge.day == day),
        )
        for scope, limit, counts in limits:
            if limit is None:
                continue
            events = [charge.event for charge in self._charges() if counts(charge)]
            epsilon, _ = self._both(scope, events, policy.delta, entry.sequence)
            if epsilon > limit + ROUNDING:
                text = (
                    f"entry {entry.sequence} reserves round {entry.body['round']} of {campaign}, and takes epsilon to "
                    f"{epsilon:.3f} {scope}, where the policy allows {limit:g}"
                )
                self.findings.append(Finding(Code.OVER_BUDGET, self._book, entry.sequence, text))

    def _draw(self, entry: Entry) -> None:
        if self._policy is not None:
            epsilon, second = self._reached(entry, self._policy.delta)
            self.curve.append(Point(entry.at, epsilon, second, self._policy.epsilon_budget))

    def _judge(self, entry: Entry) -> None:
        if self._policy is None:
            return
        delta = self._policy.delta
        stated, (epsilon, _) = _stated(entry), self._reached(entry, delta)
        if not apart(stated, epsilon):
            return
        code = Code.EPSILON_UNDERSTATED if stated < epsilon else Code.EPSILON_OVERSTATED
        text = (
            f"entry {entry.sequence} says that epsilon was {stated:.3f} when this reply left; the events that were "
            f"paid for by then come to {epsilon:.3f} at delta {delta:g}"
        )
        self.findings.append(Finding(code, self._book, entry.sequence, text))

    def _reached(self, entry: Entry, delta: float) -> tuple[float, float]:
        return self._both(TOTAL, [charge.event for charge in self._charges()], delta, entry.sequence)

    def _both(self, scope: str, events: Sequence[Event], delta: float, at: int | None) -> tuple[float, float]:
        """Epsilon by both accountants; where they disagree that is found, once for the same events."""
        one, other = self._epsilons.both(scope, events, delta)
        if (key := history(events, delta)) not in self._judged:
            self._judged.add(key)
            first, second = ("RDP", "Opacus' RDP") if any_shared(events) else ("PLD", "PRV")
            for name, said in ((first, one), (second, other)):
                if said.failure is not None:
                    text = f"{name} can't compute these events, so that nothing checks them: {said.failure}"
                    self.findings.append(Finding(Code.ACCOUNTANTS_DISAGREE, self._book, at, text))
            if apart(one.epsilon, other.epsilon):
                text = (
                    f"the accountants disagree on {len(events)} events {scope}: {one.epsilon:.3f} by {first}, "
                    f"{other.epsilon:.3f} by {second}, at delta {delta:g}"
                )
                self.findings.append(Finding(Code.ACCOUNTANTS_DISAGREE, self._book, at, text))
        return one.epsilon, other.epsilon


def _stated(entry: Entry) -> float:
    stated = entry.body["epsilon"]
    return math.inf if stated is None else float(stated)

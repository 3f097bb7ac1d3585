"""A round's course: who was asked when, who answered what, and, while it is under way, what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from pages.charts import Row, Span, timeline
from server.page.views.stages import Values
from server.page.views.words import Badge, answer_badge, between, meaning

COORDINATOR = "coordinator"


@dataclass(frozen=True)
class AtWork:
    """One hospital in the round under way. `waited` seconds since it was asked, or until it answered."""

    hospital: str
    badge: Badge
    meaning: str
    waited: float
    bytes: int | None


@dataclass(frozen=True)
class Phase:
    """A part of every round: `state` is past, now or coming."""

    words: str
    state: str


@dataclass(frozen=True)
class UnderWay:
    """The round that is begun: `attempt` counts from 1; `left_s` is None where no round of its stage has ended yet,
    `deadline_s`, seconds until answers count no more, where the deadline is not known here. Negative ones are past.
    """

    number: int
    stage: str
    attempt: int
    opened_at: str
    answered: int
    asked: int
    left_s: float | None
    deadline_s: float | None
    phases: tuple[Phase, ...]
    hospitals: tuple[AtWork, ...]
    chart: Markup


def under_way(
    opened: Values, asks: Sequence[Values], usual_s: float | None, deadline_s: float | None, now: datetime
) -> UnderWay:
    """The round `opened`, of whose last attempt are `asks`. A round of its stage takes `usual_s`; its hospitals have
    `deadline_s`.
    """
    at = now.isoformat()
    start = _start(opened, asks)
    hospitals = [
        AtWork(
            row["hospital"],
            answer_badge(row["answer"]),
            meaning(row["answer"] or ""),
            max(0.0, between(row["asked_at"], row["answered_at"] or at)),
            row["bytes"],
        )
        for row in asks
    ]
    past = max(0.0, between(start, at))
    number, answered = opened["number"], sum(row["answer"] is not None for row in asks)
    return UnderWay(
        number=number,
        stage=opened["stage"],
        attempt=opened["attempts"],
        opened_at=opened["opened_at"],
        answered=answered,
        asked=len(asks),
        left_s=None if usual_s is None else usual_s - past,
        deadline_s=None if deadline_s is None or not asks else deadline_s - past,
        phases=phases(len(asks), answered),
        hospitals=tuple(hospitals),
        chart=timeline(
            f"Round {number}: who is at work since when", _rows(start, asks, at, ended=False), past, usual_s
        ),
    )


def course(opened: Values, asks: Sequence[Values]) -> Markup:
    """The timeline of a committed round's last attempt."""
    start, rows = _start(opened, asks), []
    if asks and opened["committed_at"] is not None:
        rows = _rows(start, asks, opened["committed_at"], ended=True)
    return timeline(f"Round {opened['number']}: who worked when", rows)


def phases(asked: int, answered: int) -> tuple[Phase, ...]:
    """Where a round that is not committed stands, when so many hospitals were asked, and so many of them answered."""
    words = (
        "asked",
        f"{answered} of {asked} have answered" if asked else "training",
        "aggregated",
        "committed",
    )
    present = 0 if not asked else 1 if answered < asked else 2
    states = ("past" if n < present else "now" if n == present else "coming" for n in range(len(words)))
    return tuple(Phase(word, state) for word, state in zip(words, states, strict=True))


def _start(opened: Values, asks: Sequence[Values]) -> str:
    return min((row["asked_at"] for row in asks), default=str(opened["opened_at"]))


def _rows(start: str, asks: Sequence[Values], end: str, *, ended: bool) -> list[Row]:
    """A row for each hospital, and one of the coordinator's own work once all answers are there."""

    def span(since: str, until: str, badge: Badge) -> Span:
        begun = max(0.0, between(start, since))
        return Span(begun, max(begun, between(start, until)), badge.level, badge.words)

    rows = []
    for row in asks:
        badge = answer_badge(row["answer"])
        if ended and row["answer"] is None:
            badge = Badge("bad", "no answer")
        rows.append(Row(row["hospital"], (span(row["asked_at"], row["answered_at"] or end, badge),)))
    answered = [row["answered_at"] for row in asks if row["answered_at"] is not None]
    if asks and answered and (ended or len(answered) == len(asks)):
        badge = Badge("fine", "aggregated") if ended else Badge("busy", "aggregating")
        rows.append(Row(COORDINATOR, (span(max(answered), end, badge),)))
    return rows

"""What each page shows, as frozen values: no query, no markup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup

from client.health import Health
from client.slides.catalogue import Entry as SlideEntry
from pages.charts import Line, line_chart
from privacy.egress_record import EgressRecord
from privacy.enrolment.expiry import Expiry
from privacy.ledger.entries import Entry, Kind

_LEVELS = {"fine": "fine", "warning": "warn", "problem": "bad"}
_DRAWN = 200  # points of a curve
_FULL, _NEARLY_FULL = 0.02, 0.1  # shares of the disk that are free


@dataclass(frozen=True)
class Verdict:
    """One line of "is it well": `level` is a badge's; `cure` says what to do, where something is to be done."""

    what: str
    level: str
    words: str
    cure: str = ""


@dataclass(frozen=True)
class Refused:
    """A request that was answered by a code."""

    at: str
    code: str


def verdicts(
    health: Health,
    paused: datetime | None,
    courier: str,
    expiries: Sequence[Expiry],
    free: float,
    tested: bool | None,
) -> list[Verdict]:
    """`free` is the share of the home's disk that is free; `tested` whether the installed code passed its self-test, None
    where it never ran one.
    """
    ready = health.ready
    agent = Verdict(
        "agent", "fine" if ready else "bad", "ready" if ready else "not ready", "" if ready else health.words
    )
    cure = "" if courier else "`fedpath-hospital start`, or its unit"
    found = [agent, Verdict("courier", "fine" if courier else "warn", courier or "not started", cure)]
    if paused is not None:
        found.append(Verdict("rounds", "warn", "paused: no new round begins", "resume below"))
    for end in expiries:
        words = "expired" if end.days < 0 else f"{end.days} days left"
        cure = (
            "" if end.level == "fine" else "ask the coordinator for a new kit, then `fedpath-hospital join`"
        )
        found.append(Verdict(end.what, _LEVELS[end.level], words, cure))
    level = "bad" if free < _FULL else "warn" if free < _NEARLY_FULL else "fine"
    cure = "" if level == "fine" else "make room: a full disk stops rounds"
    return [*found, Verdict("disk", level, f"{free:.0%} free", cure), _selftest(tested)]


def _selftest(passed: bool | None) -> Verdict:
    if passed is None:
        return Verdict("self-test", "warn", "never run under this code", "`fedpath-hospital selftest`")
    if passed:
        return Verdict("self-test", "fine", "passed")
    return Verdict(
        "self-test", "bad", "failed: nothing is trained", "mend the installation, then run it again"
    )


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of all together."""
    levels = {verdict.level for verdict in verdicts}
    if "bad" in levels:
        return Verdict("all", "bad", "Not well")
    return (
        Verdict("all", "warn", "Something is to be done")
        if "warn" in levels
        else Verdict("all", "fine", "All is well")
    )


def refusals(entries: Sequence[Entry]) -> list[Refused]:
    """Every request that was refused, the newest first."""
    return [Refused(e.at, str(e.body.get("code", ""))) for e in reversed(entries) if e.kind == Kind.REFUSAL]


def policy_changes(entries: Sequence[Entry]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """When the policy changed, and each key that did with its value before and after; the newest first."""
    found, before = [], dict[str, Any]()
    for entry in entries:
        if entry.kind == Kind.POLICY:
            after = dict(entry.body["policy"])
            keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
            found.append((entry.at, [(key, shown(before.get(key)), shown(after.get(key))) for key in keys]))
            before = after
    return found[::-1]


def shown(value: object) -> str:
    """A policy's value for the eye."""
    if value is None:
        return "not set"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def left_chart(left: Sequence[tuple[str, EgressRecord]], budget: float) -> Markup:
    """Epsilon after each reply that left, against the budget."""
    values = [record.epsilon for _, record in left if math.isfinite(record.epsilon)]
    if not values:
        return Markup("")
    step, end = max(1, len(values) // _DRAWN), float(len(values))
    points = [
        (0.0, 0.0),
        *((float(n + 1), values[n]) for n in range(0, len(values), step)),
        (end, values[-1]),
    ]
    lines = [Line("epsilon", points, steps=True), Line("budget", [(0.0, budget), (end, budget)], "limit")]
    return line_chart("Epsilon as things left", lines, "parts that left", "epsilon")


def skipped(entries: Mapping[str, SlideEntry], told: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Slides that do not serve: name, reason, what to do."""
    reasons = {name: entry.reason for name, entry in entries.items() if entry.reason and not entry.gone}
    reasons |= {name: reason for name, reason in told.items() if name not in reasons}
    return [(name, reason, _CURES.get(reason, _LOOK)) for name, reason in sorted(reasons.items())]


_LOOK = "look at it: `fedpath-hospital check` says more"
_CURES = {
    "no-mpp": "state its microns per pixel in mpp.csv",
    "absurd-mpp": "state its microns per pixel in mpp.csv",
    "unreadable": "copy it again, or scan it again",
    "not-a-slide": "take it out of the folder, or its rows out of the manifest",
    "missing": "put it into the slide folder, or take its rows out of the manifest",
    "no-levels": "copy it again, or scan it again",
}

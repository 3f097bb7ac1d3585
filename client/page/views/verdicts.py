"""Is it well: one line for each part, with what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from client.findings import Finding
from client.health import Health
from client.page.spending import Spending
from privacy.enrolment.expiry import Expiry
from privacy.ledger.account import Selftest

_LEVELS = {"fine": "fine", "warning": "warn", "problem": "bad"}
_ORDER = ("bad", "warn", "busy", "off", "fine")


@dataclass(frozen=True)
class Verdict:
    """`level` is a badge's; `cure` says what to do, where something is to be done."""

    what: str
    level: str
    words: str
    cure: str = ""


def of_health(health: Health) -> Verdict:
    """The agent's."""
    if health.ready:
        return Verdict("agent", "fine", "ready")
    if health.live:
        return Verdict(
            "agent", "busy", "starting", "wait: it opens its slides, and its log says how far it is"
        )
    return Verdict(
        "agent", "bad", "none runs", "start it; where it ends again, details.log in the home says why"
    )


def of_courier(lives: bool, report: str) -> Verdict:
    """The courier's, as far as it can be told from here: in a container or a unit of its own it reports nothing."""
    if lives:
        return Verdict("courier", "fine", f"runs: {report or 'starting'}")
    if report:
        return Verdict("courier", "bad", "ended", "start it: `fedpath-hospital start`, or its unit")
    return Verdict(
        "courier",
        "off",
        "not seen from here",
        "in a unit or a container: ask there with `fedpath-hospital reach`",
    )


def of_pause(since: datetime | None) -> Verdict | None:
    """Whether IT has paused the hospital; None where it has not."""
    if since is None:
        return None
    return Verdict(
        "rounds", "warn", f"paused since {since:%d %b, %H:%M} UTC", "resume below, when it is time"
    )


def of_end(end: Expiry) -> Verdict:
    """A certificate's or the kit's."""
    cure = (
        "" if end.level == "fine" else "ask the coordinator for a renewed kit, then `fedpath-hospital join`"
    )
    return Verdict(end.what, _LEVELS[end.level], "expired" if end.days < 0 else f"{end.days} days left", cure)


def of_finding(finding: Finding) -> Verdict:
    """A look's, as `check` takes it."""
    level = "bad" if finding.grave else "warn" if finding.advice else "fine"
    return Verdict(finding.code, level, finding.what, finding.advice)


def of_selftest(found: Selftest | None) -> Verdict:
    """The running code's."""
    if found is None:
        return Verdict("self-test", "warn", "never run under this code", "`fedpath-hospital selftest`")
    if found.passed:
        return Verdict("self-test", "fine", f"passed on {found.at[:10]}")
    words = f"failed on {found.at[:10]} ({', '.join(found.findings)}): nothing is trained"
    return Verdict("self-test", "bad", words, "mend the installation, then run `fedpath-hospital selftest`")


def of_budget(spending: Spending, delta: float) -> Verdict:
    """What is spent in all, and whether a round more would be answered."""
    total = spending.limits[0]
    words = f"epsilon {total.spent:.3f} of {total.most:g} spent (delta {delta:g})"
    if spending.rounds_left == 0:
        return Verdict("budget", "warn", words, "no round like the last one is answered under this policy")
    left = "" if spending.rounds_left is None else f"; {spending.rounds_left} more rounds like the last"
    return Verdict("budget", "fine", words + left)


def of_slides(serving: int, skipped: int, indexed: bool) -> Verdict:
    """Of the cohort's."""
    if not indexed:
        return Verdict("slides", "warn", "never indexed", "`fedpath-hospital index`")
    if not serving:
        return Verdict("slides", "bad", "none can serve", "the page Slides says why")
    words = f"{serving} can serve"
    if not skipped:
        return Verdict("slides", "fine", words)
    return Verdict(
        "slides", "warn", f"{words}, {skipped} can not", "the page Slides says why, and what to do"
    )


def of_error(what: str, error: Exception) -> Verdict:
    """Of a part that can't be read; the message says what to do."""
    return Verdict(what, "bad", "can't be read", str(error))


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of all together."""
    levels = {verdict.level for verdict in verdicts}
    if "bad" in levels:
        return Verdict("all", "bad", "Not well")
    if "warn" in levels:
        return Verdict("all", "warn", "Something is to be done")
    return Verdict("all", "fine", "All is well")


def gravest_first(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What is to be done on top; else in the order given."""
    return sorted(verdicts, key=lambda verdict: _ORDER.index(verdict.level))

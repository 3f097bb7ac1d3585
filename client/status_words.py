"""What `fedpath-hospital status` says to a person: what the agent tells of itself, without what says nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from client.findings import SHOWN


def status_words(now: Mapping[str, Any]) -> Iterator[str]:
    """Lines, what matters most first. Of a home without an agent it holds less, and `agent`, which says so."""

    def said(words: str, *keys: str) -> Iterator[str]:
        """The words, unless one of these is not there, or nothing."""
        if all(now.get(key) for key in keys):
            yield words.format(**now)

    yield str(now.get("agent") or _doing(now))
    yield from said("paused since {paused_since}: `fedpath-hospital resume` ends that", "paused_since")
    yield from said("opens: {opens}", "opens")
    yield from said("upgrade: {upgrade}", "upgrade")
    yield from said(
        "epsilon: {epsilon:.3f} of {epsilon_budget:g} is spent, at delta {delta:g}", "epsilon_budget"
    )
    yield from said("self-test: {selftest}", "selftest")
    yield from said("sent since it started: {releases_sent} releases, {bytes_sent} bytes", "bytes_sent")
    yield from said("went on at its start: {interrupted_at_start} rounds", "interrupted_at_start")
    yield from said("given up at its start: {voided_at_start} rounds, which stay charged", "voided_at_start")
    if "slides" in now:
        yield f"data at its start: {now['slides']} slides can serve, {now['samples']} questions"
        yield from said("left out: {rows_left_out} bad rows of the manifest", "rows_left_out")
        yield from _skipped(now["skipped"])
    yield from said("network: {network}", "network")
    yield from said("courier: {courier}", "courier")
    yield from said("policy: {policy}\nbase: {base_hash}\ncode: {code_hash}", "policy")


def _doing(now: Mapping[str, Any]) -> str:
    of = f", step {now['step']} of {now['of']}" if now["of"] else ""
    what = f", round {now['round']} of {now['campaign']}{of}" if "round" in now else of
    since = datetime.fromtimestamp(now["since"], UTC)
    return f"{now['hospital']}: {now['phase']}{what}, since {since:%Y-%m-%d %H:%M:%S} UTC"


def _skipped(skipped: Mapping[str, str]) -> Iterator[str]:
    for name, reason in list(skipped.items())[:SHOWN]:
        yield f"left out: slide {name} ({reason})"
    if (more := len(skipped) - SHOWN) > 0:
        yield f"left out: {more} more slides; --json shows all"

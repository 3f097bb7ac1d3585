"""States as a level and words, and codes with what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from privacy.experts import EXPERTS

_STATES = {"running": "busy", "paused": "warn", "stopped": "off", "failed": "bad", "done": "fine"}
_MEANINGS = {
    "no-answer": "nothing came before the deadline",
    "revoked": "it was revoked meanwhile",
    "budget-exhausted": "its privacy budget holds no such round",
    "busy": "its agent trains something else",
    "paused": "its IT lets no round begin for now",
    "outside-hours": "its policy's hours are over",
    "awaiting-approval": "its IT has not approved the campaign yet",
    "upgrade-pending": "other code is installed there than its IT has recorded",
    "selftest-failed": "its code failed the self-test",
    "device-memory": "the plan needs more memory than its device has",
    "policy-experts": "its policy allows none of the plan's experts",
    "policy-noise": "the plan adds less noise than its policy asks for",
    "policy-sampling": "the plan draws more patients than its policy allows",
    "policy-steps": "the plan has more steps than its policy allows",
    "policy-samples": "the plan takes more samples of a patient than its policy allows",
    "policy-trust": "the plan bears fewer colluding hospitals than its policy asks for",
    "policy-rank": "the plan sums more columns than its policy lets train",
    "campaign-not-allowed": "its policy does not allow this campaign",
    "base-mismatch": "it holds another base model",
    "experts-mismatch": "an expert is missing there, or is not the plan's",
    "round-conflict": "it answered this round under another plan",
    "plan-unsigned": "the plan was not signed by the coordinator that it trusts",
    "plan-invalid": "the plan contradicts itself",
    "no-data": "it has nothing for this campaign",
    "unreachable": "its courier found no agent",
    "internal": "something failed there: its own log says what",
    "unknown-key": "signed by a key that is not enrolled",
    "bad-signature": "the signature does not fit the bytes",
    "wrong-round": "it is another round's: late or early",
    "replayed": "the very same release was taken before",
    "wrong-plan": "made under another plan",
    "wrong-event": "it says that it spent something else than the round",
    "wrong-code": "made by code that the campaign does not trust",
    "wrong-noise": "it states noise that the plan does not make there",
    "norm-too-large": "longer than any honest change can be",
    "norm-too-small": "too short to hold its noise",
    "not-finite": "it holds NaN or infinity",
    "not-a-release": "its bytes are no release",
    "too-large": "more bytes than the largest release",
}


@dataclass(frozen=True)
class Badge:
    """`level` is fine, busy, warn, bad or off."""

    level: str
    words: str


def meaning(code: str) -> str:
    """What a code says, in words; empty for one that is no more than its name."""
    return _MEANINGS.get(code, "")


def state_of(campaign: dict[str, object], alive: bool) -> Badge:
    """A campaign's state; one that says it runs, and whose process is gone, is told apart."""
    state = str(campaign["state"])
    if state in ("running", "paused") and not alive:
        return Badge("bad", f"{state}, but no process runs it")
    if campaign["held_at"] is not None and state == "running":
        return Badge("warn", "running, pauses after this round")
    return Badge(_STATES.get(state, "off"), state)


def answer_badge(answer: str | None) -> Badge:
    """What a hospital answered."""
    if answer is None:
        return Badge("busy", "at work")
    if answer == "releases":
        return Badge("fine", "answered")
    return Badge("bad" if answer in ("no-answer", "internal", "bad-reply", "revoked") else "warn", answer)


def trained(experts: Sequence[str] | None) -> str:
    """What a hospital said that it trains."""
    if experts is None:
        return "not met yet"
    return "all experts" if set(experts) >= set(EXPERTS) else ", ".join(experts)


def between(start: str, end: str) -> float:
    """Seconds from one ISO time to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()

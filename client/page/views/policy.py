"""The policy in words, and when it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from client.page.policy_words import WORDS
from privacy.ledger.entries import Entry, Kind


@dataclass(frozen=True)
class Key:
    """A key of the policy, its value, what it says, and its value by the ledger where the file has another."""

    name: str
    value: str
    words: str
    recorded: str | None


@dataclass(frozen=True)
class Change:
    """A policy that was recorded: each key whose value was another before, with the value before and after."""

    at: str
    keys: tuple[tuple[str, str, str], ...]
    first: bool


def keys(file: Mapping[str, Any], recorded: Mapping[str, Any] | None) -> list[Key]:
    """Of the file; `recorded` is what the ledger goes by, None before the first."""
    return [
        Key(name, shown(value), WORDS.get(name, ""), _other(name, value, recorded))
        for name, value in file.items()
    ]


def _other(name: str, value: object, recorded: Mapping[str, Any] | None) -> str | None:
    if recorded is None or shown(recorded.get(name)) == shown(value):
        return None
    return shown(recorded.get(name))


def changes(entries: Sequence[Entry]) -> list[Change]:
    """When the policy changed; the newest first."""
    found, before = [], dict[str, Any]()
    for entry in entries:
        if entry.kind == Kind.POLICY:
            after = dict(entry.body["policy"])
            odd = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
            rows = tuple((key, shown(before.get(key)), shown(after.get(key))) for key in odd)
            found.append(Change(entry.at, rows, not before))
            before = after
    return found[::-1]


def shown(value: object) -> str:
    """A policy's value for the eye."""
    if value is None:
        return "not set"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

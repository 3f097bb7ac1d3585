"""The page of codes: the closed sets of words that may cross, and those that an audit finds."""

from __future__ import annotations

from enum import StrEnum

from docs_site.markdown import code, page, table, words
from docs_site.remarks import remarks
from privacy.audit.findings import Code
from privacy.codes import Refusal, ReleaseFault, SecaggFault
from server.events import Answer

SETS: dict[str, type[StrEnum]] = {
    "A hospital's refusals": Refusal,
    "Why a release does not count": ReleaseFault,
    "Secure aggregation": SecaggFault,
    "What an audit finds": Code,
    "What the coordinator writes of an answer": Answer,
}


def codes() -> str:
    """Every code, and what it means."""
    parts = [
        "# Codes",
        "A failure crosses between hospital and consortium as one of these words, and as nothing else. They are closed sets: "
        "a word that is not here is not read. What to do about the frequent ones is in the [FAQ](../faq.md).",
    ]
    for title, kind in SETS.items():
        parts += [f"## {title}", words(kind.__doc__), table(("code", "meaning"), rows(kind))]
    return page(*parts)


def rows(kind: type[StrEnum]) -> list[tuple[str, str]]:
    """Each word of a closed set, and its meaning as the source says it."""
    said = remarks(kind)
    return [(code(member.value), said.get(member.name, "")) for member in kind]

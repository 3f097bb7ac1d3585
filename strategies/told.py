"""The rounds of a campaign as a verified journal tells them: what was asked, what was before, what is said to have come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from privacy import canonical
from privacy.audit.journal import JournalBook, Round
from privacy.audit.journal_forms import Kind
from privacy.ledger.entries import Entry
from privacy.ledger.parts import whole
from privacy.plan import TRAINING
from strategies.definition import Definition
from strategies.errors import DefinitionError


@dataclass(frozen=True)
class Told:
    """A committed round. `definition` is None where the journal's is none, and `wrong` says why; `before` has every expert's
    state before the round, by hash, and `memories` what server optimisers had saved last; `body` is the round's entry, of
    which only what `privacy.audit.journal_forms` names has been looked at. `pruned`: a later entry says that its releases
    were removed.
    """

    book: str
    round: Round
    definition: Definition | None
    wrong: str
    before: Mapping[str, Any]
    memories: Mapping[str, str]
    body: Mapping[str, Any]
    pruned: bool

    @property
    def left_out(self) -> str | None:
        """Why there is nothing to recompute the round from; None where there is."""
        if self.body.get("kept") is not True:
            return "its releases were not kept"
        return "its releases were removed by the consortium" if self.pruned else None

    @property
    def aggregates(self) -> Mapping[str, Any]:
        """What it says of each expert that was aggregated; nothing in an entry that does not say it, as early ones do not."""
        return _table(self.body, "aggregates")

    @property
    def states(self) -> set[object]:
        """The hashes of all states and memories that it names, and of the campaign's first ones."""
        first = {} if self.definition is None else self.definition.initial
        named = [*first.values(), *_table(self.body, "states").values(), *_memories(self.body).values()]
        return {digest for digest in named if canonical.is_digest(digest)}


def told_rounds(journal: JournalBook) -> Iterator[Told]:
    """The journal's training rounds, in its order; none of a journal that could not be read on."""
    rounds = {held.entry: held for held in journal.rounds if held.purpose == TRAINING}
    definitions: dict[str, Definition | None] = {}
    wrong: dict[str, str] = {}
    before: dict[str, Mapping[str, Any]] = {}
    memories: dict[str, dict[str, str]] = {}
    entries = tuple(whole(journal.source.entries))
    for entry in entries:
        if entry.kind == Kind.CAMPAIGN:
            values = _table(entry.body, "definition")
            name = str(values.get("name"))
            if name in definitions:
                continue
            try:
                definitions[name] = found = Definition.from_dict(values)
                before[name] = found.initial
            except DefinitionError as error:
                definitions[name], wrong[name] = None, str(error)
        elif (held := rounds.get(entry.sequence)) is not None:
            name = held.campaign
            yield Told(
                journal.source.name,
                held,
                definitions.get(name),
                wrong.get(name, ""),
                before.get(name, {}),
                dict(memories.get(name, {})),
                entry.body,
                any(_prunes(later, held) for later in entries),
            )
            before[name] = _table(entry.body, "states")
            memories.setdefault(name, {}).update(_memories(entry.body))


def _prunes(entry: Entry, held: Round) -> bool:
    if (
        entry.kind != Kind.PRUNING
        or entry.sequence < held.entry
        or entry.body.get("campaign") != held.campaign
    ):
        return False
    through = entry.body.get("through")
    return type(through) is int and through >= held.number


def _memories(body: Mapping[str, Any]) -> dict[str, str]:
    """By expert, what its server optimiser saved in this round, where it saved anything."""
    made = _table(body, "aggregates")
    found = {name: each.get("memory") for name, each in made.items() if isinstance(each, dict)}
    return {name: str(digest) for name, digest in found.items() if canonical.is_digest(digest)}


def _table(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}

"""Recomputing a campaign's rounds from what the consortium kept, bit for bit, and saying where they come out otherwise.

    journal (verified) + states, memories, releases --replay--> one `Replayed` a round

A round starts from the states that the journal says the one before it ended in, whether or not those came out; so a
difference is told where it arose. Nothing is written, and nothing is believed but the journal's word on what was counted:
the plan and the recipes are made anew from the campaign's definition, and each release is checked as it was when it came,
under the keys that the hospital had then. What needs no release is checked in every round, also where they were not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privacy import canonical
from privacy.audit.findings import Code, Finding
from privacy.audit.journal import JournalBook, Verdict
from privacy.egress_record import MASKED
from privacy.errors import PlanError, SecaggRefused, WireError
from privacy.forms import Form, absent_before, maybe, missing, table
from privacy.plan import Plan
from privacy.secagg import server
from privacy.secagg.outgoing import PARTS
from privacy.secagg.session import Session
from privacy.secagg.terms import Distributed
from strategies import handed
from strategies.compare import first_difference, reports_differ
from strategies.errors import AggregationError, DefinitionError, HandedError
from strategies.intake import MAX_MEMORY_BYTES, MAX_STATE_BYTES, Aggregated, Intake, Terms
from strategies.summed import layout_of, messages_of, stepped
from strategies.told import Told, told_rounds

_ROUND: Mapping[str, Form] = {"states": table, "aggregates": absent_before(table)}
_LONGEST = 300  # letters of what an unforeseen error says
_AGGREGATE: Mapping[str, Form] = {"memory": maybe(canonical.is_digest), "report": table}


@dataclass(frozen=True)
class Difference(Finding):
    """A finding about one round: where it is, as far as it can be told."""

    campaign: str = ""
    round: int = 0
    expert: str | None = None
    hospital: str | None = None
    tensor: str | None = None


@dataclass(frozen=True)
class Replayed:
    """What came of one round. `same` are the experts that came out bit for bit; `left_out` says why there was nothing to
    recompute, where there was not: `differences` are then those that show without a release.
    """

    campaign: str
    round: int
    releases: int
    same: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    left_out: str | None = None


def replay(
    journal: JournalBook, folder: Path, campaign: str | None = None, number: int | None = None
) -> Iterator[Replayed]:
    """Recompute the journal's rounds, or those of one campaign, or of one number, in the journal's order.

    `folder` is what was handed over with the journal (`strategies.handed`), and may hold anything.
    """
    for told in told_rounds(journal):
        held = told.round
        if campaign in (None, held.campaign) and number in (None, held.number):
            yield _replayed(told, folder)


def strays(journal: JournalBook, folder: Path) -> list[Finding]:
    """Files of the folder that the journal does not name: a release that nobody counted, a state that never was."""
    known: dict[str, set[object]] = {handed.STATES: set(), handed.RELEASES: set()}
    for told in told_rounds(journal):
        known[handed.STATES] |= told.states
        known[handed.RELEASES] |= {v.release for v in told.round.verdicts if v.accepted}
        known[handed.RELEASES] |= set(map(str, _messages(told.body)))
    return [
        Finding(Code.STRAY_FILE, str(folder / kind / name), None, "the journal names no such file")
        for kind, digests in known.items()
        for name in handed.names(folder, kind)
        if name not in {handed.place(folder, kind, str(digest)).name for digest in digests}
    ]


def _replayed(told: Told, folder: Path) -> Replayed:
    held = told.round
    count = sum(verdict.accepted for verdict in held.verdicts)
    walk = _Recomputed(told, folder)
    try:
        walk.round()
    except Exception as error:  # whatever a hostile file makes the code raise is a finding about its round
        walk.find(
            Code.DAMAGED, f"it can't be recomputed to the end: {type(error).__name__}: {error}"[:_LONGEST]
        )
    return Replayed(
        held.campaign, held.number, count, tuple(walk.same), tuple(walk.differences), told.left_out
    )


@dataclass
class _Recomputed:
    """One round, recomputed: what came out the same, and all that did not. `nonces` are those of all releases that it took."""

    told: Told
    folder: Path
    nonces: set[str] = field(default_factory=set)
    same: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    def round(self) -> None:
        """Do the round; without its releases, what can be done without them."""
        told = self.told
        if wrong := missing(told.body, _ROUND):
            self.find(Code.ILLEGAL_ENTRY, f"it is malformed at {', '.join(wrong)}")
            return
        plan = self._plan()
        if plan is None:
            return
        released = self._released(plan)
        summed = MASKED in released  # one masked input is of all experts; a sum that failed has none
        self._check_untouched(set(plan.experts) if summed else set(released))
        if told.left_out is not None:
            return
        if plan.distributed is not None:
            self._summed(plan, plan.distributed)
            return
        for expert, found in released.items():
            self._expert(plan, expert, found)

    def _plan(self) -> Plan | None:
        """The plan as the definition has it; None, and a finding, where the journal's is another."""
        held, definition = self.told.round, self.told.definition
        if definition is None:
            self.find(Code.NOT_DEFINED, f"the campaign's definition can't be read: {self.told.wrong}")
            return None
        try:
            plan = definition.plan(definition.stage_at(held.number), held.number, self.told.before)
        except (DefinitionError, PlanError) as error:
            self.find(Code.NOT_DEFINED, f"the campaign's definition gives no such round: {error}")
            return None
        if plan.hash != held.plan:
            text = (
                f"its plan is {held.plan[:12]}; definition and states before it make {plan.hash[:12]}: another recipe, "
                "stage or start was asked for"
            )
            self.find(Code.PLAN_MISMATCH, text)
            return None
        return plan

    def _released(self, plan: Plan) -> dict[str, list[Verdict]]:
        """What counts, by expert, in the plan's order, or as masked inputs; a finding of each that the round does not ask
        for.
        """
        asked = plan.experts if plan.distributed is None else (MASKED,)
        released: dict[str, list[Verdict]] = {name: [] for name in asked}
        for verdict in self.told.round.verdicts:
            if verdict.accepted and verdict.expert in released:
                released[verdict.expert].append(verdict)
            elif verdict.accepted:
                text = f"a release of {verdict.expert} was counted, which the round does not train"
                self.find(Code.REFUSED_RELEASE, text, verdict.expert, verdict.hospital)
        return {name: found for name, found in released.items() if found}

    def _check_untouched(self, trained: set[str]) -> None:
        """What nobody released is as it was, and is not said to have been aggregated."""
        before, after = self.told.before, self.told.body["states"]
        for expert in sorted({*before, *after} - trained):
            if before.get(expert) != after.get(expert):
                self.find(
                    Code.STATE_DIFFERS, "its state is another than before, and nobody released it", expert
                )
        for expert in sorted(set(self.told.aggregates) - trained):
            self.find(Code.REPORT_DIFFERS, "it is said to be aggregated, and nobody released it", expert)

    def _summed(self, plan: Plan, terms: Distributed) -> None:
        """A round under distributed trust: the sum again from every message, and the step from the sum."""
        body, definition = self.told.body["sum"], self.told.definition
        assert definition is not None
        session = Session.from_bytes(body["session"].encode())
        held = self.told.round
        strangers = [name for name, key in session.roll.items() if key not in held.keys.get(name, ())]
        bound = (session.campaign, session.round, session.plan_hash) == (plan.campaign, plan.round, plan.hash)
        if strangers or not bound or not session.meets(terms):
            text = f"its session is not the plan's, or of keys that were not enrolled: {', '.join(strangers) or 'terms'}"
            self.find(Code.PLAN_MISMATCH, text)
            return
        total = self._total(session, body["messages"])
        if total is None:
            return
        counted = sorted(v.hospital for v in held.verdicts if v.accepted)
        if not list(total.hospitals) == body["hospitals"] == counted:
            text = f"the sum is that of {', '.join(total.hospitals)}, and the journal says another"
            self.find(Code.REFUSED_RELEASE, text)
            return
        states: dict[str, bytes] = {}
        memories: dict[str, bytes] = {}
        for expert in plan.experts:
            for found, digest in (
                (states, plan.experts_hash[expert]),
                (memories, self.told.memories.get(expert)),
            ):
                if digest is not None:
                    data = self._file(handed.STATES, digest, "the state or memory before the round", expert)
                    if data is None:
                        return
                    found[expert] = data
        noise = terms.noise(plan.mechanism, layout_of(plan, states).size)
        made = stepped(plan, states, memories, total.words, noise, total.hospitals, definition.patients)
        for expert, aggregated in made.items():
            self._compare(expert, aggregated, self.told.aggregates[expert])

    def _total(self, session: Session, messages: Mapping[str, Mapping[str, str]]) -> server.Total | None:
        """The sum, by the protocol's own server; None, and a finding, where a message is missing or does not fit."""
        stage: Any = server.Adverts(session)
        for part in PARTS.values():
            for hospital, digest in sorted(messages[part].items()):
                data = self._file(handed.RELEASES, digest, f"{hospital}'s {part}", None, hospital)
                if data is None:
                    return None
                try:
                    stage = stage.add(data)
                except SecaggRefused as error:
                    text = f"{hospital}'s {part} {digest[:12]} counts, and must be refused: {error}"
                    self.find(Code.REFUSED_RELEASE, text, None, hospital)
                    return None
            stage = stage.close()
        assert isinstance(stage, server.Total)
        return stage

    def _expert(self, plan: Plan, expert: str, verdicts: Sequence[Verdict]) -> None:
        """One expert, from what it was to what it became."""
        aggregated = self.told.aggregates.get(expert)
        if not isinstance(aggregated, dict) or missing(aggregated, _AGGREGATE):
            self.find(Code.ILLEGAL_ENTRY, "it does not say what its aggregation came to", expert)
            return
        intake = self._intake(plan, expert)
        if intake is None:
            return
        taken = [self._take(intake, expert, verdict) for verdict in verdicts]
        if not all(taken):
            return
        try:
            found = intake.aggregated(expert)
        except AggregationError as error:
            self.find(Code.STATE_DIFFERS, f"its releases can't be aggregated: {error}", expert)
            return
        self._compare(expert, found, aggregated)

    def _compare(self, expert: str, found: Aggregated, aggregated: Mapping[str, Any]) -> None:
        """What came out, with what the journal says."""
        before = len(self.differences)
        self._compare_state(expert, found)
        self._compare_memory(expert, found, aggregated["memory"])
        if text := reports_differ(found.report, aggregated["report"]):
            self.find(Code.REPORT_DIFFERS, text, expert)
        if len(self.differences) == before:
            self.same.append(expert)

    def _intake(self, plan: Plan, expert: str) -> Intake | None:
        """What takes the expert's releases in; None, and a finding, where state or memory are not as they should be."""
        definition = self.told.definition
        assert definition is not None
        start = self._file(handed.STATES, plan.experts_hash[expert], "the state before the round", expert)
        if start is None:
            return None
        memories = {}
        if (digest := self.told.memories.get(expert)) is not None:
            saved = self._file(handed.STATES, digest, "the optimiser's memory before the round", expert)
            if saved is None:
                return None
            memories[expert] = saved
        terms = Terms(
            plan=plan,
            states={expert: start},
            keys=self.told.round.keys,
            recipes={expert: definition.recipe(expert)},
            memories=memories,
            code_hashes=definition.code_hashes,
            patients=definition.patients,
        )
        try:
            return Intake(
                terms,
                lambda data: handed.place(self.folder, handed.RELEASES, canonical.digest(data)),
                self.nonces,
            )
        except WireError as error:
            self.find(Code.CHANGED_FILE, f"the state before the round is none: {error}", expert)
            return None

    def _take(self, intake: Intake, expert: str, verdict: Verdict) -> bool:
        """Check one release as it was checked when it came."""
        definition, hospital = self.told.definition, verdict.hospital
        assert definition is not None
        data = self._file(handed.RELEASES, verdict.release, f"{hospital}'s release", expert, hospital)
        if data is None:
            return False
        if hospital not in self.told.round.keys or hospital not in (definition.members or {hospital}):
            self.find(
                Code.REFUSED_RELEASE, f"{hospital} takes no part, and its release counts", expert, hospital
            )
            return False
        found = intake.take(hospital, expert, data)
        if found.fault is not None:
            text = f"{hospital}'s release {verdict.release[:12]} counts, and must be refused as {found.fault}"
            self.find(Code.REFUSED_RELEASE, text, expert, hospital)
            return False
        if found.reservation != verdict.reservation:
            text = f"{hospital}'s release names another payment than the journal says"
            self.find(Code.RESERVATION_MISMATCH, text, expert, hospital)
        return True

    def _compare_state(self, expert: str, found: Aggregated) -> None:
        wanted, got = self.told.body["states"].get(expert), canonical.digest(found.state)
        kept = None
        if canonical.is_digest(wanted):
            kept = self._file(handed.STATES, wanted, "the state after the round", expert)
        if wanted == got:
            return
        text, tensor = f"its releases come to {got[:12]}, and the journal says {str(wanted)[:12]}", None
        if kept is not None:
            tensor, how = first_difference(found.state, kept, MAX_STATE_BYTES)
            text = f"{text}: {how}"
        self.find(Code.STATE_DIFFERS, text, expert, tensor=tensor)

    def _compare_memory(self, expert: str, found: Aggregated, wanted: str | None) -> None:
        got = None if found.memory is None else canonical.digest(found.memory)
        kept = None
        if wanted is not None:
            kept = self._file(handed.STATES, wanted, "the optimiser's memory after the round", expert)
        if wanted == got:
            return
        text, tensor = f"its optimiser comes to {_short(got)}, and the journal says {_short(wanted)}", None
        if kept is not None and found.memory is not None:
            tensor, how = first_difference(found.memory, kept, MAX_MEMORY_BYTES)
            text = f"{text}: {how}"
        self.find(Code.MEMORY_DIFFERS, text, expert, tensor=tensor)

    def _file(
        self, kind: str, digest: str, what: str, expert: str | None, hospital: str | None = None
    ) -> bytes | None:
        """The bytes; None, and a finding, where they are not there, or others are."""
        try:
            return handed.read(self.folder, kind, digest)
        except HandedError as error:
            code = Code.MISSING_FILE if error.missing else Code.CHANGED_FILE
            self.find(code, f"{what}: {error}", expert, hospital)
            return None

    def find(
        self,
        code: Code,
        text: str,
        expert: str | None = None,
        hospital: str | None = None,
        tensor: str | None = None,
    ) -> None:
        """Note a difference."""
        held = self.told.round
        where = f"round {held.number} of {held.campaign}{'' if expert is None else f', {expert}'}"
        self.differences.append(
            Difference(
                code,
                self.told.book,
                held.entry,
                f"{where}: {text}",
                held.campaign,
                held.number,
                expert,
                hospital,
                tensor,
            )
        )


def _messages(body: Mapping[str, Any]) -> set[str]:
    """The messages of a sum that an entry names; none of an entry that names none as it should."""
    try:
        return messages_of(body)
    except (AttributeError, TypeError):
        return set()


def _short(digest: str | None) -> str:
    return "nothing" if digest is None else digest[:12]

"""The coordinator's journal, read on from a chain that holds: who was enrolled, and what was accepted when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from privacy.audit.chain import Chain
from privacy.audit.findings import Code, Finding, Note
from privacy.audit.journal_forms import FORMS, Kind
from privacy.audit.sources import Source
from privacy.egress_record import COUNTS
from privacy.errors import KeyFileError, MechanismError, SignatureInvalid, WireError
from privacy.evaluation import EVALUATION as NOISED
from privacy.forms import missing
from privacy.handover import Handover, successors
from privacy.keys import PublicKey
from privacy.ledger.entries import Entry, read_time
from privacy.ledger.parts import PART, whole
from privacy.mechanism import Event, Mechanism
from privacy.plan import TRAINING
from privacy.secagg.terms import Distributed


@dataclass(frozen=True)
class Verdict:
    """What became of one release (`expert` None: of a reply without any).  `fault` is None where accepted.

    The answer to a noised evaluation is a release of "counts".
    """

    hospital: str
    expert: str | None
    fault: str | None
    release: str
    reservation: str | None

    @property
    def accepted(self) -> bool:
        """Whether the release counts."""
        return self.fault is None and self.expert is not None


@dataclass(frozen=True)
class Round:
    """A committed round, or noised evaluation after it: what was asked, from when to when, and what came of it.

    `plan` is the hash of what was asked; `keys` are those that each hospital had at some time from when it was opened, its
    last one first.
    """

    entry: int
    campaign: str
    number: int
    purpose: str
    plan: str
    event: Event
    opened: str
    committed: str
    verdicts: tuple[Verdict, ...]
    keys: Mapping[str, tuple[PublicKey, ...]]


@dataclass(frozen=True)
class JournalBook:
    """A journal as it was read.  `enrolled` maps each hospital to every release key it had, in order; `revoked` are
    those of them that a revocation ended, at once or by then.
    """

    source: Source
    chain: Chain
    read: bool
    enrolled: Mapping[str, tuple[PublicKey, ...]] = field(default_factory=dict)
    revoked: frozenset[PublicKey] = frozenset()
    rounds: tuple[Round, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[Note, ...] = ()


def read_journal(source: Source, chain: Chain) -> JournalBook:
    """Follow the journal's entries."""
    if not chain.intact:
        note = Note(source.name, "its history was not read on, as the chain does not hold: mend that first")
        return JournalBook(source, chain, read=False, notes=(note,))
    walk = _Walk(source.name)
    for entry in whole(source.entries):
        walk.step(entry)
    revoked, rounds, findings = frozenset(walk.revoked), tuple(walk.rounds), tuple(walk.findings)
    return JournalBook(source, chain, True, walk.enrolled, revoked, rounds, findings)


class _Walk:
    """From entry to entry; what is malformed or out of order changes nothing, and is named."""

    def __init__(self, book: str) -> None:
        self.enrolled: dict[str, tuple[PublicKey, ...]] = {}
        self.revoked: set[PublicKey] = set()
        self.rounds: list[Round] = []
        self.findings: list[Finding] = []
        self._book = book
        self._replaced: dict[PublicKey, str] = {}  # keys, and when another took their place
        self._campaigns: dict[str, list[tuple[int, Event]]] = {}  # each stage's rounds, and what one spends
        self._accepted: dict[tuple[str, str], int] = {}  # hospital and release, by the entry that accepted it
        self._steps = {
            Kind.ENROLMENT: self._enrolment,
            Kind.HANDOVER: self._handover,
            Kind.REVOCATION: self._revocation,
            Kind.ROTATION: lambda entry: None,
            Kind.CAMPAIGN: self._campaign,
            Kind.ROUND: self._round,
            Kind.EVALUATION: self._evaluation,
            Kind.NOISED: self._noised,
            **dict.fromkeys((Kind.PAUSE, Kind.RESUME, Kind.STOP), self._steering),
            Kind.PRUNING: self._pruning,
        }

    def step(self, entry: Entry) -> None:
        """Take one entry in, or say why not."""
        try:
            kind = _kind(entry)
            if wrong := missing(entry.body, FORMS[kind]):
                raise _Illegal(f"it is malformed at {', '.join(wrong)}")
            self._steps[kind](entry)
        except _Illegal as error:
            self._find(Code.ILLEGAL_ENTRY, entry, str(error))
        except (KeyFileError, MechanismError, WireError) as error:
            self._find(Code.ILLEGAL_ENTRY, entry, f"it is malformed: {error}")

    def _enrolment(self, entry: Entry) -> None:
        name, key = entry.body["hospital"], PublicKey(bytes.fromhex(entry.body["release_key"]))
        if self._is_enrolled(name) or any(key in keys for keys in self.enrolled.values()):
            raise _Illegal(f"it enrols {name!r}, or its key, a second time")
        self.enrolled[name] = (*self.enrolled.get(name, ()), key)

    def _handover(self, entry: Entry) -> None:
        name = entry.body["hospital"]
        fields = {key: entry.body[key] for key in ("old", "new", "proof")}
        handover = Handover.from_dict(name, fields)
        if not self._is_enrolled(name) or self.enrolled[name][-1] != handover.old:
            raise _Illegal(f"it replaces a key that is not {name!r}'s")
        try:
            successors([handover], name, handover.old)
        except SignatureInvalid as error:
            self._find(
                Code.BAD_ROTATION,
                entry,
                f"the key before it did not hand over to {name!r}'s new one: {error}",
            )
        else:
            self.enrolled[name] += (handover.new,)
            self._replaced[handover.old] = entry.at

    def _revocation(self, entry: Entry) -> None:
        name, key = entry.body["hospital"], PublicKey(bytes.fromhex(entry.body["release_key"]))
        if not self._is_enrolled(name) or self.enrolled[name][-1] != key:
            raise _Illegal(f"it revokes a key that is not {name!r}'s")
        self.revoked |= set(self.enrolled[name])

    def _is_enrolled(self, name: str) -> bool:
        return name in self.enrolled and self.enrolled[name][-1] not in self.revoked

    def _campaign(self, entry: Entry) -> None:
        definition = entry.body["definition"]
        name = definition["name"]
        if name in self._campaigns:
            raise _Illegal(f"it begins campaign {name!r} a second time")
        self._campaigns[name] = [(stage["rounds"], _spent_in(stage)) for stage in definition["stages"]]

    def _evaluation(self, entry: Entry) -> None:
        if entry.body["campaign"] not in self._campaigns:
            raise _Illegal(f"it evaluates a campaign that was not begun: {entry.body['campaign']!r}")

    def _steering(self, entry: Entry) -> None:
        if entry.body["campaign"] not in self._campaigns:
            raise _Illegal(f"it steers a campaign that was not begun: {entry.body['campaign']!r}")

    def _pruning(self, entry: Entry) -> None:
        if entry.body["campaign"] not in self._campaigns:
            raise _Illegal(
                f"it removes releases of a campaign that was not begun: {entry.body['campaign']!r}"
            )
        done = [
            h.number for h in self.rounds if (h.campaign, h.purpose) == (entry.body["campaign"], TRAINING)
        ]
        if entry.body["through"] > max(done, default=0):
            raise _Illegal(f"it removes releases of round {entry.body['through']}, which is not committed")

    def _noised(self, entry: Entry) -> None:
        self._evaluation(entry)
        found = _noised(entry, self._keys_since(entry.body["opened"]))
        if any(
            (h.campaign, h.number, h.purpose) == (found.campaign, found.number, NOISED) for h in self.rounds
        ):
            text = f"the evaluation after round {found.number} of {found.campaign} is committed a second time"
            self._find(Code.ACCEPTED_TWICE, entry, text)
        self._check_accepted(entry, found)
        self.rounds.append(found)

    def _round(self, entry: Entry) -> None:
        found = _round(entry, self._keys_since(entry.body["opened"]))
        if found.campaign not in self._campaigns:
            raise _Illegal(f"it commits a round of a campaign that was not begun: {found.campaign!r}")
        before = [h.number for h in self.rounds if (h.campaign, h.purpose) == (found.campaign, TRAINING)]
        if found.number in before:
            text = f"round {found.number} of {found.campaign} is committed a second time"
            self._find(Code.ACCEPTED_TWICE, entry, text)
        elif found.number != len(before) + 1:
            raise _Illegal(f"it commits round {found.number} of {found.campaign} after round {len(before)}")
        if self._planned(found) != found.event:
            text = f"round {found.number} of {found.campaign} is not of the mechanism that the campaign was begun with"
            self._find(Code.EVENT_MISMATCH, entry, text)
        self._check_accepted(entry, found)
        self.rounds.append(found)

    def _keys_since(self, opened: str) -> dict[str, tuple[PublicKey, ...]]:
        since = read_time(opened)
        found = {
            name: tuple(
                key
                for key in reversed(keys)
                if key not in self.revoked
                and (key not in self._replaced or read_time(self._replaced[key]) >= since)
            )
            for name, keys in self.enrolled.items()
        }
        return {name: keys for name, keys in found.items() if keys}

    def _planned(self, found: Round) -> Event | None:
        """What the campaign's definition says that this round spends; None beyond its last."""
        left = found.number
        for rounds, event in self._campaigns[found.campaign]:
            if left <= rounds:
                return event
            left -= rounds
        return None

    def _check_accepted(self, entry: Entry, found: Round) -> None:
        """Each release counts once, and a hospital's expert once a round."""
        seen: set[tuple[str, str | None]] = set()
        for verdict in found.verdicts:
            if not verdict.accepted:
                continue
            if not self._is_enrolled(verdict.hospital):
                self._find(
                    Code.NOT_ENROLLED, entry, f"it accepts a release of {verdict.hospital!r}, not enrolled"
                )
            before = self._accepted.setdefault((verdict.hospital, verdict.release), entry.sequence)
            if before != entry.sequence or (verdict.hospital, verdict.expert) in seen:
                text = (
                    f"it accepts {verdict.hospital}'s release {verdict.release[:12]} for {verdict.expert}, which was "
                    f"accepted in entry {before} already: paid once and counted twice"
                )
                self._find(Code.ACCEPTED_TWICE, entry, text)
            seen.add((verdict.hospital, verdict.expert))

    def _find(self, code: Code, entry: Entry, text: str) -> None:
        self.findings.append(Finding(code, self._book, entry.sequence, text))


class _Illegal(Exception):  # noqa: N818 - never leaves this file
    """An entry that may not stand where it stands."""


def _kind(entry: Entry) -> Kind:
    """The entry's kind; an evaluation with answers is a noised one, by hospitals, and else by the evaluator."""
    if entry.kind == Kind.EVALUATION and "answers" in entry.body:
        return Kind.NOISED
    if entry.kind == PART:
        raise _Illegal("it is a part of a record that the entry after it does not say")
    if entry.kind == Kind.NOISED or entry.kind not in set(Kind):
        raise _Illegal(f"it is of an unknown kind {entry.kind!r}: update fedpath")
    return Kind(entry.kind)


def _spent_in(stage: Mapping[str, Any]) -> Event:
    """What a round of a campaign's stage spends."""
    mechanism = Mechanism.from_dict(stage["mechanism"])
    if "distributed" not in stage:
        return mechanism.event()
    return Distributed.from_dict(stage["distributed"]).event(mechanism)


def _round(entry: Entry, keys: Mapping[str, tuple[PublicKey, ...]]) -> Round:
    body = entry.body
    return Round(
        entry=entry.sequence,
        campaign=body["campaign"],
        number=body["number"],
        purpose=TRAINING,
        plan=body["plan"],
        event=Event.from_dict(body["event"]),
        opened=body["opened"],
        committed=entry.at,
        verdicts=tuple(
            Verdict(v["hospital"], v["expert"], v["fault"], v["release"], v["reservation"])
            for v in body["verdicts"]
        ),
        keys=keys,
    )


def _noised(entry: Entry, keys: Mapping[str, tuple[PublicKey, ...]]) -> Round:
    body = entry.body
    return Round(
        entry=entry.sequence,
        campaign=body["campaign"],
        number=body["round"],
        purpose=NOISED,
        plan=body["request"],
        event=Event.from_dict(body["event"]),
        opened=body["opened"],
        committed=entry.at,
        verdicts=tuple(
            Verdict(a["hospital"], COUNTS, a["fault"], a["digest"] or "", a["reservation"])
            for a in body["answers"]
        ),
        keys=keys,
    )

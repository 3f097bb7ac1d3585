"""What a consortium hands over for replay, and every way in which somebody may have touched it: the cases of test_replay.py."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from auditor.cli import app as audit
from privacy import canonical, tensors
from privacy.audit.findings import Code
from privacy.keys import PrivateKey, Purpose
from privacy.ledger.entries import Entry, follow
from privacy.ledger.export import read_export, write_export
from privacy.release import MAGIC, PAYLOAD
from server.cli import app as consortium
from strategies.aggregate import MEDIAN, NORM_BOUND, TRIMMED_MEAN
from strategies.definition import Aggregation, Stage
from strategies.optimiser import ADAM, MOMENTUM, YOGI, Optimiser
from strategies.shrink import BY_TENSOR
from strategies.weighting import DECLARED, NOISE_MATCHED
from tests.audit_books import Body, resigned
from tests.federation.simulator import (
    initial,
)
from tests.federation.test_rounds import CAMPAIGN, World
from tests.privacy_cases import MECHANISM

NAMES = ("north", "south", "west")
EXPERTS = ("scale/roi", "scale/wsi")
PLAIN = replace(CAMPAIGN, quorum=3)
MOVED = replace(
    PLAIN,
    weighting=NOISE_MATCHED,
    patients=dict.fromkeys(NAMES, 100),
    optimiser={"scale/roi": Optimiser(MOMENTUM, 0.5, 0.8)},
)
GRPO = Stage("grpo", 1, ("task/vqa",), 0.01, MECHANISM, rollouts=4, max_answer_tokens=32)
RECIPES = {
    "a plain mean, then another stage": replace(PLAIN, stages=(*PLAIN.stages, GRPO)),
    "weights by noise, momentum": MOVED,
    "declared weights, Adam": replace(
        PLAIN,
        weighting=DECLARED,
        weights={"north": 1.0, "south": 2.0, "west": 0.5},
        optimiser={"scale/wsi": Optimiser(ADAM, 0.01)},
    ),
    "a median, Yogi": replace(
        PLAIN, aggregation=Aggregation(MEDIAN), optimiser={"scale/roi": Optimiser(YOGI, 0.01)}
    ),
    "a trimmed mean, agreed patients": replace(
        PLAIN, aggregation=Aggregation(TRIMMED_MEAN, 1), patients=dict.fromkeys(NAMES, 100)
    ),
    "a bounded mean": replace(PLAIN, aggregation=Aggregation(NORM_BOUND)),
    "a shrunk mean of trusted code": replace(
        PLAIN,
        aggregation=Aggregation(shrinkage=BY_TENSOR),
        trusted_code=(canonical.digest(b"code"),),
    ),
}


@dataclass(frozen=True)
class Handed:
    """What an auditor was given, in a folder of its own, and the keys to forge it with."""

    folder: Path
    coordinator: PrivateKey
    hospitals: dict[str, PrivateKey] = field(default_factory=dict)

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    @property
    def given(self) -> Path:
        return self.folder / "given"

    def entries(self) -> tuple[Entry, ...]:
        return read_export(self.journal).entries

    def body(self, number: int) -> Body:
        """What the journal says of a round of "spring"."""
        (found,) = [e.body for e in self.entries() if _is_round(e, e.body, number)]
        return dict(found)

    def release(self, number: int, hospital: str, expert: str = "scale/roi") -> Path:
        (digest,) = [
            v["release"]
            for v in self.body(number)["verdicts"]
            if (v["hospital"], v["expert"]) == (hospital, expert)
        ]
        return self.given / "releases" / f"{digest}.release"

    def state(self, digest: str) -> Path:
        return self.given / "states" / f"{digest}.safetensors"

    def rewrite(self, change: Callable[[Entry, Body], Body | None]) -> None:
        """The journal as its coordinator could write it anew."""
        made = resigned(self.entries(), self.coordinator, change)
        self.journal.unlink()
        write_export(self.journal, made, self.coordinator, "2031-01-01", "fedpath-journal")

    def rewrite_round(self, number: int, change: Callable[[Body], None]) -> None:
        def changed(entry: Entry, body: Body) -> Body:
            if _is_round(entry, body, number):
                change(body)
            return body

        self.rewrite(changed)

    def replayed(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit status and JSON of the command."""
        key = self.folder / "coordinator.pub"
        key.write_bytes(self.coordinator.public.to_pem())
        given = ["replay", str(self.journal), str(self.given), "--coordinator", str(key), "--json", *options]
        result = CliRunner().invoke(audit, given)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, json.loads(result.stdout or "{}")


def _is_round(entry: Entry, body: Mapping[str, Any], number: int) -> bool:
    return entry.kind == "round" and (body["campaign"], body["number"]) == ("spring", number)


def hand_over(here: World, folder: Path) -> Handed:
    folder.mkdir()
    made = Handed(folder, here.home.coordinator(), {n: h.key for n, h in here.hospitals.items()})
    command = ["export", str(here.home.folder), str(made.journal), "--releases", str(made.given)]
    result = CliRunner().invoke(consortium, command)
    assert result.exit_code == 0, result.output
    return made


def _byte(handed: Handed) -> None:
    path = handed.release(1, "south")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _left_out(handed: Handed) -> None:
    def drop(body: Body) -> None:
        body["verdicts"] = [
            v for v in body["verdicts"] if (v["hospital"], v["expert"]) != ("west", "scale/roi")
        ]

    handed.rewrite_round(1, drop)


def _counted(handed: Handed, number: int, verdict: dict[str, Any]) -> None:
    handed.rewrite_round(number, lambda body: body["verdicts"].append(verdict))


def _stranger(handed: Handed) -> None:
    (verdict,) = [
        v for v in handed.body(1)["verdicts"] if (v["hospital"], v["expert"]) == ("west", "scale/roi")
    ]
    _counted(handed, 1, {**verdict, "hospital": "east"})


def swapped(handed: Handed, number: int, hospital: str, data: bytes, expert: str = "scale/roi") -> None:
    """In the place of a hospital's release, other bytes, in the journal as well."""
    old = handed.release(number, hospital, expert)
    digest = canonical.digest(data)
    (handed.given / "releases" / f"{digest}.release").write_bytes(data)

    def swap(body: Body) -> None:
        for verdict in body["verdicts"]:
            if verdict["release"] == old.stem:
                verdict["release"] = digest

    handed.rewrite_round(number, swap)
    old.unlink()


def _other_key(handed: Handed) -> None:
    payload = handed.release(1, "north").read_bytes()[PAYLOAD:]
    signed = MAGIC + handed.hospitals["south"].sign(payload, Purpose.RELEASE) + payload
    swapped(handed, 1, "north", signed)


def _other_enrolled(handed: Handed) -> None:
    """The coordinator's own key is said to have been north's from the beginning."""

    def change(entry: Entry, body: Body) -> Body:
        if entry.kind == "enrolment" and body["hospital"] == "north":
            body["release_key"] = handed.coordinator.public.raw.hex()
        return body

    handed.rewrite(change)


def _earlier(handed: Handed) -> None:
    swapped(handed, 2, "north", handed.release(1, "north").read_bytes())


def _another_expert(handed: Handed) -> None:
    swapped(handed, 1, "north", handed.release(1, "north", "scale/wsi").read_bytes())


def _same_nonce(handed: Handed) -> None:
    """North's second release of the round has its first one's nonce, and says the same otherwise."""
    (_, first), (parts, second) = (
        tensors.deserialize(handed.release(1, "north", expert).read_bytes()[PAYLOAD:], 10**6)
        for expert in EXPERTS
    )
    nonce, other = (json.loads(header)["nonce"] for header in (first, second))
    payload = tensors.serialize(parts, second.replace(other, nonce))
    data = MAGIC + handed.hospitals["north"].sign(payload, Purpose.RELEASE) + payload
    swapped(handed, 1, "north", data, "scale/wsi")


def _definition(change: Callable[[Body], None]) -> Callable[[Handed], None]:
    def tamper(handed: Handed) -> None:
        def changed(entry: Entry, body: Body) -> Body:
            if entry.kind == "campaign":
                change(body["definition"])
            return body

        handed.rewrite(changed)

    return tamper


def _rate(definition: Body) -> None:
    definition["stages"][0]["learning_rate"] = 0.02


def _vast(definition: Body) -> None:
    definition["stages"][0]["learning_rate"] = 10**400


def _weights(definition: Body) -> None:
    definition |= {"weighting": DECLARED, "weights": {"north": 1.0, "south": 1.0, "west": 1.5}}


def _optimiser(definition: Body) -> None:
    definition["optimiser"]["scale/roi"]["beta1"] = 0.7


def _shorter(definition: Body) -> None:
    definition["stages"][0]["rounds"] = 1


def _odd(definition: Body) -> None:
    definition["optimiser"] = {"scale/roi": {"kind": "luck"}}


def _members(definition: Body) -> None:
    definition["patients"] = {"north": 100, "south": 100}


def _in_round(number: int, change: Callable[[Handed, Body], None]) -> Callable[[Handed], None]:
    return lambda handed: handed.rewrite_round(number, lambda body: change(handed, body))


def _old_state(handed: Handed, body: Body) -> None:
    body["states"]["scale/roi"] = handed.body(1)["states"]["scale/roi"]


def _old_memory(handed: Handed, body: Body) -> None:
    body["aggregates"]["scale/roi"]["memory"] = handed.body(1)["aggregates"]["scale/roi"]["memory"]


def _nudged(handed: Handed, body: Body) -> None:
    """One value of the state that the journal names is the next float."""
    state = tensors.decode(handed.state(body["states"]["scale/roi"]).read_bytes(), 10**6)
    state["y.lora_B"][1, 1] = np.nextafter(state["y.lora_B"][1, 1], np.float32(9))
    data = tensors.encode(state)
    handed.state(canonical.digest(data)).write_bytes(data)
    body["states"]["scale/roi"] = canonical.digest(data)


def untouched(handed: Handed, body: Body) -> None:
    """An expert that the round does not train has another state after it."""
    body["states"]["task/vqa"] = body["states"]["scale/roi"]


def _aggregated(handed: Handed, body: Body) -> None:
    body["aggregates"]["task/vqa"] = body["aggregates"]["scale/roi"]


def not_kept(change: Callable[[Handed, Body], None]) -> Callable[[Handed], None]:
    """The second round is changed, and its releases are said not to have been kept."""

    def tamper(handed: Handed, body: Body) -> None:
        change(handed, body)
        body["kept"] = False

    return _in_round(2, tamper)


def _not_kept_by_another_rate(handed: Handed) -> None:
    _definition(_rate)(handed)
    for number in (1, 2):
        handed.rewrite_round(number, lambda body: body.update(kept=False))


def _pruned(change: Callable[[Handed, Body], None]) -> Callable[[Handed], None]:
    """The second round is changed, and pruned after its commit."""

    def tamper(handed: Handed) -> None:
        _in_round(2, change)(handed)
        last = handed.entries()[-1]
        said = {"campaign": "spring", "through": 2}
        made = follow(last, "pruning", datetime.fromisoformat(last.at), said, handed.coordinator)
        entries = [*handed.entries(), made]
        handed.journal.unlink()
        write_export(handed.journal, entries, handed.coordinator, "2031-01-01", "fedpath-journal")

    return tamper


def _share(handed: Handed, body: Body) -> None:
    body["aggregates"]["scale/roi"]["report"]["shares"]["north"] = 0.3334


def _payment(handed: Handed, body: Body) -> None:
    body["verdicts"][0]["reservation"] = "ab" * 32


def _unaggregated(handed: Handed, body: Body) -> None:
    del body["aggregates"]["scale/roi"]


def _memory_file(handed: Handed) -> Path:
    return handed.state(handed.body(1)["aggregates"]["scale/roi"]["memory"])


def _unsigned(handed: Handed) -> None:
    handed.journal.write_text(handed.journal.read_text().replace('"stage":"sft"', '"stage":"grpo"', 1))


def _pruned_ahead(handed: Handed) -> None:
    """Rounds are said to be pruned before they are committed, so that nobody asks for their releases."""
    made: list[Entry] = []
    for entry in handed.entries():
        if entry.kind == "round" and entry.body["number"] == 1:
            when = datetime.fromisoformat(entry.at)
            made.append(
                follow(made[-1], "pruning", when, {"campaign": "spring", "through": 2}, handed.coordinator)
            )
        when = datetime.fromisoformat(entry.at)
        made.append(
            follow(made[-1] if made else None, entry.kind, when, dict(entry.body), handed.coordinator)
        )
    handed.release(1, "south").unlink()
    handed.journal.unlink()
    write_export(handed.journal, made, handed.coordinator, "2031-01-01", "fedpath-journal")


def _nonsense(handed: Handed, body: Body) -> None:
    body["states"] = {"scale/roi": [1], "x": {}}
    body["aggregates"] = {"scale/roi": {"memory": [], "report": {}}, "scale/wsi": 3}


def _pipe(handed: Handed) -> None:
    path = handed.release(1, "south")
    path.unlink()
    os.mkfifo(path)


@dataclass(frozen=True)
class Case:
    """A tampering, and what must be among the findings: codes, and the round, expert and tensor of the first of them."""

    name: str
    tamper: Callable[[Handed], object]
    codes: frozenset[Code]
    round: int | None = 1
    expert: str | None = "scale/roi"
    tensor: str | None = None


def case(name: str, tamper: Callable[[Handed], object], *codes: Code, **where: Any) -> Case:
    return Case(name, tamper, frozenset(codes), **where)


CASES = (
    case("a changed byte of a release", _byte, Code.CHANGED_FILE),
    case("a release left out", lambda h: h.release(1, "west").unlink(), Code.MISSING_FILE),
    case("a pipe in a release's place", _pipe, Code.CHANGED_FILE),
    case(
        "a release added",
        lambda h: (h.given / "releases" / f"{'ab' * 32}.release").write_bytes(b"x"),
        Code.STRAY_FILE,
        round=None,
        expert=None,
    ),
    case(
        "a release left out in the journal too",
        _left_out,
        Code.STATE_DIFFERS,
        Code.STRAY_FILE,
        tensor="x.lora_B",
    ),
    case("a release counted for someone else", _stranger, Code.NOT_ENROLLED, Code.REFUSED_RELEASE),
    case("a release signed by another hospital", _other_key, Code.REFUSED_RELEASE),
    case("another key enrolled", _other_enrolled, Code.REFUSED_RELEASE),
    case("a release of an earlier round", _earlier, Code.REFUSED_RELEASE, round=2),
    case("a release of another expert", _another_expert, Code.REFUSED_RELEASE),
    case("a nonce that counts for two experts", _same_nonce, Code.REFUSED_RELEASE, expert="scale/wsi"),
    case("another learning rate", _definition(_rate), Code.PLAN_MISMATCH, expert=None),
    case("another weighting", _definition(_weights), Code.STATE_DIFFERS, tensor="x.lora_B"),
    case(
        "another optimiser",
        _definition(_optimiser),
        Code.STATE_DIFFERS,
        Code.MEMORY_DIFFERS,
        round=2,
        tensor="x.lora_B",
    ),
    case("a round more than were planned", _definition(_shorter), Code.NOT_DEFINED, round=2, expert=None),
    case("a number beyond every float", _definition(_vast), Code.NOT_DEFINED, expert=None),
    case("a definition that is none", _definition(_odd), Code.NOT_DEFINED, expert=None),
    case("a hospital that takes no part", _definition(_members), Code.REFUSED_RELEASE),
    case(
        "the state of another round", _in_round(2, _old_state), Code.STATE_DIFFERS, round=2, tensor="x.lora_B"
    ),
    case(
        "the next float in one value", _in_round(2, _nudged), Code.STATE_DIFFERS, round=2, tensor="y.lora_B"
    ),
    case("an expert that nobody released", _in_round(1, untouched), Code.STATE_DIFFERS, expert="task/vqa"),
    case(
        "an expert that nobody released, in a round that was not kept",
        not_kept(untouched),
        Code.STATE_DIFFERS,
        round=2,
        expert="task/vqa",
    ),
    case(
        "an expert that nobody released, in a round that was pruned",
        _pruned(untouched),
        Code.STATE_DIFFERS,
        round=2,
        expert="task/vqa",
    ),
    case(
        "an aggregate of nothing, in a round that was not kept",
        not_kept(_aggregated),
        Code.REPORT_DIFFERS,
        round=2,
        expert="task/vqa",
    ),
    case(
        "another learning rate, in rounds that were not kept",
        _not_kept_by_another_rate,
        Code.PLAN_MISMATCH,
        expert=None,
    ),
    case(
        "the memory of another round",
        _in_round(2, _old_memory),
        Code.MEMORY_DIFFERS,
        round=2,
        tensor="first/x.lora_B",
    ),
    case("a changed memory", lambda h: _memory_file(h).write_bytes(b"x"), Code.CHANGED_FILE),
    case("a memory left out", lambda h: _memory_file(h).unlink(), Code.MISSING_FILE),
    case(
        "a start left out",
        lambda h: h.state(tensors.digest(initial()["scale/roi"])).unlink(),
        Code.MISSING_FILE,
    ),
    case("another share of weight", _in_round(1, _share), Code.REPORT_DIFFERS),
    case("another payment", _in_round(1, _payment), Code.RESERVATION_MISMATCH),
    case("an aggregate without a word", _in_round(1, _unaggregated), Code.ILLEGAL_ENTRY),
    case(
        "states that are none",
        _in_round(1, _nonsense),
        Code.STATE_DIFFERS,
        Code.ILLEGAL_ENTRY,
        expert="router",
    ),
    case("rounds pruned before they were done", _pruned_ahead, Code.ILLEGAL_ENTRY, Code.MISSING_FILE),
    case("an entry changed and not signed", _unsigned, Code.CHANGED, round=None, expert=None),
)

"""One FedPath round as a Flower strategy: what is sent, and what is taken from each reply.

The strategy lives for one round. `configure_train` addresses the signed plan to every enrolled node;
`aggregate_train` takes the replies one at a time as they come (give it a generator), checks each release,
refuses by name what is wrong, puts the rest aside on disk, and aggregates it when no more replies come. What came of
it stands in `outcome`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from logging import INFO
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from privacy import tensors
from privacy.codes import ReleaseFault
from privacy.errors import ReleaseRefused
from privacy.keys import PublicKey
from privacy.plan import Plan
from privacy.release import Expectation, Release, check
from privacy.release_file import ReleaseFile, keep_release
from strategies import optimiser
from strategies.aggregate import NORM_BOUND, Recipe, aggregate
from strategies.bounds import norm_bound
from strategies.errors import AggregationError
from strategies.gathered import State, gather
from strategies.noise import check_stated, least_norm
from strategies.weighting import BY_NOISE

_T = TypeVar("_T")

MAX_STATE_BYTES = 256 * 1024 * 1024
_MAX_MEMORY_BYTES = 3 * MAX_STATE_BYTES  # two values for each of a state's
_LOOSE_BYTES = 64 * 1024  # a release's header, names and scales, over its int8 values


@dataclass(frozen=True)
class RoundTask:
    """What one round asks, of whom: `nodes` maps Flower's node ids to enrolled names.

    `states` holds the bytes of every expert that travels (the trained ones' parents and the frozen ones under
    them); `keys` are those under which a hospital may have sealed its releases, its present one first;
    `receipts` what is still owed to a hospital for an earlier round; `code_hashes` the installations whose
    releases are taken (None for any); `patients` the nominal patients that a hospital's noise must be stated for,
    where they were agreed upon.
    """

    plan: Plan
    signature: bytes
    states: Mapping[str, bytes]
    nodes: Mapping[int, str]
    keys: Mapping[str, Sequence[PublicKey]]
    receipts: Mapping[str, bytes] = field(default_factory=dict)
    code_hashes: frozenset[str] | None = None
    patients: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What became of one thing that a hospital sent: `fault` is None where it was accepted.

    `expert` is None for a reply that held no release at all: then `fault` is the hospital's own code, or
    Flower's.
    """

    hospital: str
    expert: str | None
    fault: str | None
    digest: str
    size: int
    noise_std: float | None = None
    reservation: str | None = None  # the entry of the hospital's ledger that paid for it


@dataclass(frozen=True)
class Aggregated:
    """An expert after the round, as bytes: its state, its server optimiser's memory (None where it has none), and the
    public report on what came in, as JSON values (`strategies.aggregate.Report`).
    """

    state: bytes
    memory: bytes | None
    report: Mapping[str, Any]


@dataclass
class Outcome:
    """A round so far: verdicts in order of arrival, and, once all replies are in, the experts that hospitals trained.

    An expert that nobody trained is not among them: it stays as it was.
    """

    verdicts: list[Verdict]
    experts: dict[str, Aggregated]

    @property
    def contributors(self) -> set[str]:
        """Hospitals with at least one accepted release."""
        return {verdict.hospital for verdict in self.verdicts if verdict.fault is None}


class FedPathStrategy(Strategy):
    """Aggregation of one round's releases, expert by expert, after the recipe of each.

    `keep` puts the bytes of an accepted release aside and says where; they must lie there, unchanged, until
    `aggregate_train` returns. `memories` has what the experts' server optimisers saved last. `heard` is told of every
    verdict as it falls, for progress and timing.
    """

    def __init__(
        self,
        task: RoundTask,
        recipes: Mapping[str, Recipe],
        keep: Callable[[bytes], Path],
        memories: Mapping[str, bytes] = MappingProxyType({}),
        heard: Callable[[Verdict], None] = lambda verdict: None,
    ) -> None:
        self._task = task
        self._recipes = recipes
        self._keep = keep
        self._memories = memories
        self._heard = heard
        self.outcome = Outcome([], {})
        self._accepted: dict[str, list[ReleaseFile]] = {expert: [] for expert in task.plan.experts}
        self._taken: set[str] = set()  # nonces
        self._shapes = {
            expert: {name: value.shape for name, value in self._start(expert).items()}
            for expert in task.plan.experts
        }

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message a hospital: owed receipt, plan, signature, experts. `arrays` and `config` play no
        part.
        """
        return [self._message(node, name) for node, name in self._task.nodes.items()]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take in the replies; returns the trained experts' new tensors, or None where nothing was
        accepted.
        """
        answered: set[str] = set()
        for reply in replies:
            name = self._task.nodes.get(reply.metadata.src_node_id)
            if name is None or name in answered:  # a stranger, or a second answer: neither counts
                continue
            answered.add(name)
            for verdict in self._judge(name, reply):
                self.outcome.verdicts.append(verdict)
                self._heard(verdict)
        trained = {expert: self._aggregated(expert) for expert, found in self._accepted.items() if found}
        arrays = {
            f"{expert}::{name}": Array(value)
            for expert, state in trained.items()
            for name, value in state.items()
        }
        return (ArrayRecord(arrays) if arrays else None), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nothing: a hospital's metrics are private. The evaluator is asked by `server.evaluation`."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing, as no one was asked."""
        return None

    def summary(self) -> None:
        """Log the round in one line."""
        plan = self._task.plan
        log(
            INFO,
            "FedPath %s round %d: %s from %d hospitals",
            plan.stage,
            plan.round,
            plan.experts,
            len(self._task.nodes),
        )

    def _message(self, node: int, name: str) -> Message:
        train = ConfigRecord({"plan": self._task.plan.to_bytes(), "signature": self._task.signature})
        for expert, state in self._task.states.items():
            train[f"expert/{expert}"] = state
        content = RecordDict({"train": train})
        if name in self._task.receipts:
            content["receipt"] = ConfigRecord({"receipt": self._task.receipts[name]})
        return Message(content, node, MessageType.TRAIN)

    def _judge(self, name: str, reply: Message) -> Iterator[Verdict]:
        parts = read_reply(reply, "train")
        if "code" in parts:
            yield Verdict(name, None, _word(parts["code"]), "", 0)
            return
        for part in sorted(parts):
            if part.startswith("release/"):
                yield self._take(name, part.removeprefix("release/"), parts[part])

    def _take(self, name: str, expert: str, data: bytes) -> Verdict:
        """Check one release and add it; a release is for the expert that it is named for, or for none."""
        digest, size = tensors.digest(data), len(data)
        if expert not in self._shapes:
            return Verdict(name, expert[:40], ReleaseFault.UNKNOWN_EXPERT, digest, size)
        try:
            release = under_any_key(
                self._task.keys[name], lambda key: check(data, self._expectation(name, key, expert))
            )
            self._check_noise(release)
        except ReleaseRefused as error:
            return Verdict(name, expert, error.code, digest, size)
        self._accepted[expert].append(keep_release(self._keep(data), release))
        self._taken.add(release.nonce)
        return Verdict(name, expert, None, digest, size, release.noise_std, release.reservation)

    def _expectation(self, name: str, key: PublicKey, expert: str) -> Expectation:
        shapes = self._shapes[expert]
        values = sum(math.prod(shape) for shape in shapes.values())
        return Expectation(
            plan=self._task.plan,
            hospitals={name: key},  # the node's own: no one releases in another's name
            shapes={expert: shapes},
            max_bytes=2 * values + _LOOSE_BYTES,
            max_norm=norm_bound(self._task.plan, shapes),
            code_hashes=self._task.code_hashes,
            taken=frozenset(self._taken),
        )

    def _check_noise(self, release: Release) -> None:
        """Refuse noise that the plan's mechanism can't have made, where the expert's recipe builds on it."""
        recipe, plan = self._recipes[release.expert], self._task.plan
        patients = self._task.patients.get(release.hospital)
        if patients is not None or recipe.weighting.kind in BY_NOISE:
            try:
                check_stated(release.noise_variance, plan, patients)
            except AggregationError as error:
                raise ReleaseRefused(ReleaseFault.WRONG_NOISE, str(error)) from None
        if recipe.rule == NORM_BOUND:
            square = sum(
                float(np.square(value, dtype=np.float64).sum()) for value in release.tensors.values()
            )
            least = least_norm(plan, sum(value.size for value in release.tensors.values()))
            if math.sqrt(square) < least:
                text = f"its norm {math.sqrt(square):.4g} is under {least:.4g}: it lacks the noise that it states"
                raise ReleaseRefused(ReleaseFault.NORM_TOO_SMALL, text)

    def _aggregated(self, expert: str) -> State:
        """Aggregate one expert into the outcome."""
        start, recipe, saved = self._start(expert), self._recipes[expert], self._memories.get(expert)
        memory = None if saved is None else recipe.optimiser.load(saved, start, _MAX_MEMORY_BYTES)
        found = aggregate(gather(expert, start, self._accepted[expert]), recipe, self._task.plan, memory)
        self.outcome.experts[expert] = Aggregated(
            state=self._task.states[expert] if found.report.too_few else tensors.encode(found.state),
            memory=optimiser.save(found.memory) if found.memory else None,
            report=found.report.to_dict(),
        )
        return found.state

    def _start(self, expert: str) -> State:
        return tensors.decode(self._task.states[expert], MAX_STATE_BYTES)


def under_any_key(keys: Sequence[PublicKey], check_under: Callable[[PublicKey], _T]) -> _T:
    """What the check gives under the key that the bytes name. Raises what it raises under the first key, where they
    name none of these.
    """
    present, *former = keys
    try:
        return check_under(present)
    except ReleaseRefused as error:
        if error.code != ReleaseFault.UNKNOWN_KEY or not former:
            raise
        try:
            return under_any_key(former, check_under)
        except ReleaseRefused as other:
            raise (error if other.code == ReleaseFault.UNKNOWN_KEY else other) from None


def read_reply(reply: Message, method: str) -> dict[str, bytes]:
    """The named bytes of a reply to `method`; a failed or shapeless reply reads as a code."""
    if reply.has_error():
        return {"code": f"flower-{reply.error.code}".encode()}
    record = reply.content.config_records.get(method)
    parts = (
        {} if record is None else {name: value for name, value in record.items() if isinstance(value, bytes)}
    )
    return parts if record is not None and len(parts) == len(record) else {"code": b"bad-reply"}


def _word(code: bytes) -> str:
    """A code as text fit for a log: hostile input, so short and printable."""
    text = code[:40].decode("ascii", "replace")
    return "".join(letter if letter.isalnum() or letter == "-" else "?" for letter in text)

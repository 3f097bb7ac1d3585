"""One FedPath round as a Flower strategy: what is sent, and what is taken from each reply.

The strategy lives for one round. `configure_train` addresses the signed plan to every enrolled node;
`aggregate_train` takes the replies one at a time as they come (give it a generator), hands each release to
`strategies.intake`, which refuses by name what is wrong and puts the rest aside on disk, and has it aggregated when no
more replies come. What came of it stands in `outcome`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from logging import INFO
from pathlib import Path
from types import MappingProxyType

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from privacy.keys import PublicKey
from privacy.plan import Plan
from strategies.aggregate import Recipe
from strategies.intake import Aggregated, Intake, Terms, Verdict


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
        self._heard = heard
        self.outcome = Outcome([], {})
        terms = Terms(task.plan, task.states, task.keys, recipes, memories, task.code_hashes, task.patients)
        self._intake = Intake(terms, keep)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message a hospital: owed receipt, plan, signature, experts. `arrays` and `config` play no
        part.
        """
        return [self._message(node, name) for node, name in self._task.nodes.items()]

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[None, None]:
        """Take in the replies; what came of them stands in `outcome`, as bytes, and is not made into a record again."""
        answered: set[str] = set()
        for reply in replies:
            name = self._task.nodes.get(reply.metadata.src_node_id)
            if name is None or name in answered:  # a stranger, or a second answer: neither counts
                continue
            answered.add(name)
            for verdict in self._judge(name, reply):
                self.outcome.verdicts.append(verdict)
                self._heard(verdict)
        for expert in self._intake.released:
            self.outcome.experts[expert] = self._intake.aggregated(expert)
        return None, None

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
                yield self._intake.take(name, part.removeprefix("release/"), parts[part])


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

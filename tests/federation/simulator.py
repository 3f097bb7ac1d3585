"""A federation in memory: the same grid interface, real keys, plans, ledgers and releases; faults are fields.

What is simulated is the network, the clock and the training (noise-only steps): all that judges, pays, signs, checks,
adds and commits is the real code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from privacy import canonical, keys, succession, tensors
from privacy.clip import clip_and_sum
from privacy.codes import Refusal
from privacy.delta import ExpertDelta
from privacy.descent import PrivateDescent
from privacy.description import Description
from privacy.egress_record import COUNTS
from privacy.errors import LedgerError, PlanRefused, SignatureInvalid
from privacy.evaluation import Evaluation, NoisedEvaluation
from privacy.experts import EXPERTS
from privacy.handover import Handover
from privacy.ledger.store import Ledger
from privacy.noise import add_noise
from privacy.noised_counts import Scores, noised_counts
from privacy.plan import Plan
from privacy.policy import Policy, refusal
from privacy.randomness import SecureRandom
from privacy.ranks import first_columns
from privacy.release import seal
from privacy.sealed_counts import seal_counts
from tests.federation.sum_steps import SumSteps

BASE = canonical.digest(b"base")
CODE = canonical.digest(b"code")
SHAPES = {"x.lora_B": (6, 2), "y.lora_B": (3, 2)}  # of every expert


def initial(shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> dict[str, bytes]:
    """The public start of every expert."""
    state = tensors.encode({name: np.full(shape, 0.25, np.float32) for name, shape in shapes.items()})
    return dict.fromkeys(EXPERTS, state)


def policy(name: str, **changes: Any) -> Policy:
    """A policy that allows everything that the tests ask, and any change of it."""
    fields: dict[str, Any] = {
        "hospital": name,
        "epsilon_budget": 100.0,
        "delta": 1e-5,
        "nominal_patients": 100,
        "minimum_noise_multiplier": 0.5,
        "maximum_sampling_rate": 0.5,
        "maximum_steps": 50,
        "maximum_samples_per_patient": 8,
        "tasks": ("classification", "detection", "segmentation", "vqa"),
        "scales": ("roi", "wsi"),
        "campaigns": ("*",),
    }
    return Policy(**{**fields, **changes})


class SimulatedClock:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Faults:
    """What goes wrong at one hospital; each field alone is one fault."""

    offline: bool = False  # its node is not connected
    silent: bool = False  # connected, and never answers a train message
    crash: bool = False  # Flower reports that its app crashed
    busy: int = 0  # so many train messages are answered "busy" first
    seconds: float = 1.0  # how long an answer takes
    forged: bool = False  # releases signed by a key that is not enrolled
    stale: bool = False  # last round's releases again
    duplicate: bool = False  # every reply comes twice
    misnamed: bool = False  # it describes itself as another hospital
    spam: bool = False  # parts that no expert has
    lost_at: str = (
        ""  # never answers this step of a sum; with ", told" it does the step, and its answer is lost
    )
    counts: Callable[[bytes], dict[str, bytes]] | None = (
        None  # what becomes of its answer to a noised evaluation
    )


@dataclass
class SimulatedHospital:
    """A hospital's courier and agent in one object, with its own key and ledger in `folder`, old or new."""

    name: str
    folder: Path
    policy: Policy
    faults: Faults = field(default_factory=Faults)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: SHAPES)
    asked: list[str] = field(default_factory=list)  # every method, in order
    stages: list[str] = field(default_factory=list)  # of evaluations asked
    evaluated: list[dict[str, str]] = field(default_factory=list)  # the experts that each was about, by hash

    def __post_init__(self) -> None:
        key = self.folder / "release.key"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = keys.load(key) if key.exists() else keys.generate(key)
        self.coordinator: keys.PublicKey | None = None
        self._last: dict[str, bytes] = {}

    @cached_property
    def ledger(self) -> Ledger:
        """Its ledger, opened when it is first needed."""
        return Ledger(self.folder / "ledger.db", self.key)

    @cached_property
    def sums(self) -> SumSteps:
        """Its part in rounds under distributed trust."""
        return SumSteps(self.folder, self.policy, self.ledger, self.key, BASE, CODE, self.shapes)

    @cached_property
    def supernode_key(self) -> bytes:
        """As Flower reports it."""
        return (
            ec.generate_private_key(ec.SECP384R1())
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def answer(self, method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        """What the agent would answer on its socket."""
        self.asked.append(method)
        try:
            return {
                "coordinator": self._succession,
                "describe": self._describe,
                "train": self._train,
                "sum": self._sum,
                "evaluate": self._evaluate,
                "evaluate_noised": self._evaluate_noised,
                "receipt": self._receipt,
            }[method](parts)
        except PlanRefused as error:
            return {"code": error.code.encode()}

    def _describe(self, parts: dict[str, bytes]) -> dict[str, bytes]:
        said = Description.of(self.policy, CODE)
        if self.faults.misnamed:
            said = Description("another", said.experts, CODE, said.public_data)
        return {"description": said.to_bytes()}

    def _sum(self, parts: dict[str, bytes]) -> dict[str, bytes]:
        assert self.coordinator is not None
        answer = self.sums.answer(parts, self.coordinator)
        return {"code": b"gibberish"} if self.faults.lost_at == f"{parts['step'].decode()}, told" else answer

    def _succession(self, parts: dict[str, bytes]) -> dict[str, bytes]:
        assert self.coordinator is not None
        chain = succession.from_bytes(parts["handovers"], "consortium", self.coordinator)
        if chain:
            self.ledger.succeeded(chain)
            self.coordinator = chain[-1].new
        return {}

    def _receipt(self, parts: dict[str, bytes]) -> dict[str, bytes]:
        assert self.coordinator is not None
        try:
            self.ledger.receipt(parts["receipt"], self.coordinator)
        except (LedgerError, SignatureInvalid):
            return {"code": Refusal.BAD_REQUEST.encode()}
        return {}

    def _evaluate(self, parts: dict[str, bytes]) -> dict[str, bytes]:
        if not self.policy.public_data:
            return {"code": Refusal.NOT_OFFERED.encode()}
        request = Evaluation.from_bytes(parts["request"])
        for expert, digest in request.experts_hash.items():
            assert tensors.digest(parts[f"expert/{expert}"]) == digest
        self.stages.append(request.stage)
        self.evaluated.append(dict(request.experts_hash))
        row = {
            "scale": "roi",
            "task": "classification",
            "metric": "accuracy",
            "mean": 0.5,
            "ci95": [0.4, 0.6],
            "n": 9,
            "further": False,
        }
        return {"metrics": canonical.encode([row])}

    def _evaluate_noised(self, parts: dict[str, bytes]) -> dict[str, bytes]:
        """Forty patients a kind, three of four answers right, as the agent would count them."""
        assert self.coordinator is not None
        asked = NoisedEvaluation.open(parts["request"], parts["signature"], self.coordinator)
        for expert, digest in asked.experts_hash.items():
            assert tensors.digest(parts[f"expert/{expert}"]) == digest
        sent = self.ledger.sent(asked.campaign, asked.round, asked.hash, asked.purpose)
        if sent is None:
            if (code := refusal(self.policy, asked, BASE)) is not None:
                return {"code": code.encode()}
            reservation = self.ledger.reserve(asked, self.policy, CODE)
            scores: list[Scores] = [{kind: [0.75] for kind in asked.kinds}] * 40
            counts = noised_counts(asked.kinds, scores, asked.noise_multiplier, SecureRandom())
            sent = {COUNTS: seal_counts(counts, reservation, asked, self.name, self.key)}
            self.ledger.spend(reservation, sent)
        return dict(sent) if self.faults.counts is None else self.faults.counts(sent[COUNTS])

    def rotate(self) -> Handover:
        """Take up a new key; what it hands to the coordinator."""
        old, self.key = self.key, keys.generate(self.folder / f"release-{len(self.asked)}.key")
        self.ledger.rotate(self.key)
        return Handover.make(self.name, old, self.key.public)

    def _train(self, parts: dict[str, bytes]) -> dict[str, bytes]:
        assert self.coordinator is not None
        if self.faults.busy:
            self.faults.busy -= 1
            return {"code": Refusal.BUSY.encode()}
        plan = Plan.open(parts["plan"], parts["signature"], self.coordinator)
        if self.faults.stale and self._last:
            return self._last
        sent = self.ledger.sent(plan.campaign, plan.round, plan.hash)
        if sent is None:
            code = refusal(self.policy, plan, BASE)
            if code is not None:
                return {"code": code.encode()}
            sent = self._release(plan)
        self._last = {f"release/{expert}": data for expert, data in sent.items()}
        extra = {f"release/odd-{n}": b"x" for n in range(500)} if self.faults.spam else {}
        return self._last | extra

    def _release(self, plan: Plan) -> dict[str, bytes]:
        reservation = self.ledger.reserve(plan, self.policy, CODE)
        key = keys.generate(self.folder / f"other-{plan.round}.key") if self.faults.forged else self.key
        shapes = first_columns(self.shapes, reservation.max_rank)
        deltas = noise_deltas(plan, plan.restricted(self.policy.experts), shapes)
        sealed = {name: seal(delta, reservation, plan, self.name, key) for name, delta in deltas.items()}
        self.ledger.spend(reservation, sealed)
        return sealed


def noise_deltas(
    plan: Plan, experts: Iterable[str], shapes: Mapping[str, tuple[int, ...]] = SHAPES
) -> dict[str, ExpertDelta]:
    """What a round of noise-only steps makes of `experts`."""
    start = {f"{e}::{n}": torch.full(shape, 0.25) for e in experts for n, shape in shapes.items()}
    descent, random = PrivateDescent(start, plan.learning_rate), SecureRandom()
    for _ in range(plan.mechanism.steps):
        empty = {name: torch.zeros((0, *value.shape)) for name, value in start.items()}
        summed = clip_and_sum(empty, plan.mechanism.clip_norm)
        descent.step(add_noise(summed, plan.mechanism, 10.0, random))
    return dict(descent.deltas())


class SimulatedGrid(Grid):
    """Hospitals behind Flower's grid interface: node ids count from 101 in the order given."""

    def __init__(self, hospitals: Iterable[SimulatedHospital], clock: SimulatedClock) -> None:
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1  # as in a ServerApp's process
        self.hospitals = {101 + index: hospital for index, hospital in enumerate(hospitals)}
        self._clock = clock
        self._replies: list[tuple[float, Message]] = []
        self._count = 0

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def send_and_receive(self, *args: Any, **kwargs: Any) -> Iterable[Message]:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return [node.node_id for node in self.get_nodes()]

    def get_nodes(self) -> Iterable[NodeInfo]:
        here = [(node, h) for node, h in self.hospitals.items() if not h.faults.offline]
        return [NodeInfo(node_id=node, public_key=hospital.supernode_key) for node, hospital in here]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        wanted = set(message_ids)
        ready = [
            (at, reply)
            for at, reply in self._replies
            if at <= self._clock.seconds and reply.metadata.reply_to_message_id in wanted
        ]
        for item in ready:
            self._replies.remove(item)
        return [reply for _, reply in ready]

    def _push(self, message: Message) -> str:
        self._name(message)
        hospital = self.hospitals[message.metadata.dst_node_id]
        faults = hospital.faults
        training = "train" in message.content.config_records
        summing = message.content.config_records.get("sum", ConfigRecord())
        if (
            faults.offline
            or (training and faults.silent)
            or (summing and summing["step"] == faults.lost_at.encode())
        ):
            return message.metadata.message_id
        if training and faults.crash:
            reply = Message(Error(code=8, reason="the app crashed"), reply_to=message)
        else:
            reply = carried(hospital, message)
        at = self._clock.seconds + faults.seconds
        self._replies += [(at, reply)] * (2 if faults.duplicate else 1)
        return message.metadata.message_id

    def _name(self, message: Message) -> str:
        self._count += 1
        name = f"message-{self._count}"
        message.metadata.__dict__["_message_id"] = name
        return name


def carried(hospital: SimulatedHospital, message: Message) -> Message:
    """As the courier does: each record to the method of its name, a receipt before a plan."""
    records = sorted(message.content.config_records.items())
    answers = {name: ConfigRecord(hospital.answer(name, dict(record))) for name, record in records}  # type: ignore[arg-type]
    return Message(RecordDict(answers), reply_to=message)

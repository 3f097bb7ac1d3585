"""The agent: the hospital's own process that holds slides, keys and ledger, and answers through a socket.

What comes in is hostile data, judged in this order: signature, form, answered before, policy, experts,
budget. What goes out passes `privacy.egress` and is logged. A failure crosses as a code from a closed set;
what it was stands among the details, which stay in the home (`privacy.details`): what is written by `logging` goes there.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial

import torch

from client import metrics
from client.agent_data import AgentData
from client.errors import HomeError
from client.events import (
    PartLeft,
    Phase,
    PolicyChanged,
    ReceiptKept,
    RequestFailed,
    RequestRefused,
    WorkBegan,
    WorkEnded,
)
from client.expert_states import Asked, ExpertStates
from client.gate import Gate
from client.home import Home
from client.incoming import Parts, Refused, part, signed, signed_session, sum_step
from client.installation import installed
from client.model.base import Base
from client.model.experts import Experts
from client.network import Network
from client.paid_work import PaidWork
from client.policy_in_force import PolicyInForce
from client.progress import Progress
from client.public_evaluation import evaluate_public
from client.received import keep_received
from client.reservations import Reservations
from client.rpc import LIMIT
from client.sampler import vllm_of
from client.selftest_word import selftest_word
from client.shared_round import SharedRounds
from client.step_checkpoints import StepCheckpoints, StoppedAfterStep
from client.succession import follow
from client.sum_states import SumStates
from client.training import memory
from client.training.distributed import Team
from privacy import canonical, egress, envelope, keys, succession
from privacy.codes import Refusal, SecaggFault
from privacy.description import Description
from privacy.egress_record import RELEASE
from privacy.errors import LedgerError, PlanRefused, PolicyError, SignatureInvalid, WireError
from privacy.evaluation import Evaluation, NoisedEvaluation
from privacy.events import Bytes, Digest, Name, Ordinal, incident, tell
from privacy.ledger.store import Ledger
from privacy.plan import Plan
from privacy.policy import Policy, refusal
from privacy.randomness import RandomSource, SecureRandom
from privacy.ranks import first_columns
from privacy.receipt import Receipt
from privacy.release import Expectation
from privacy.sealed_counts import CountsExpectation
from privacy.secagg.layout import Layout
from privacy.secagg.outgoing import PARTS, STEPS, SumExpectation

_LOG = logging.getLogger("fedpath.agent")


class Agent:
    """One hospital's agent. Opening it loads the base, reads slides and manifest, and settles the ledger.

    Thread-safe: one training or evaluation at a time, others are told "busy". `random` is a source of
    secrets; only tests give another. `team` are the processes that share the work, where there are several GPUs.
    """

    def __init__(
        self, home: Home, network: Network, random: RandomSource | None = None, team: Team | None = None
    ) -> None:
        self._home = home
        self._key, self._coordinator = keys.load(home.release_key), home.coordinator
        self._installed = installed()
        self._code_hash = self._installed.code
        self._ledger = Ledger(home.ledger, self._key)
        self._in_force = PolicyInForce(self._ledger, lambda: home.policy)
        self._base = Base.load(home.settings.base, "cuda" if torch.cuda.is_available() else "cpu")
        memory.cap(self._base.device, self._policy.gpu_memory_share)
        self._data = AgentData(home, self._base, self._policy.skip_bad_rows)
        self._experts = ExpertStates(self._base)
        self._checkpoints = StepCheckpoints(home.checkpoints, self._key)
        self._reservations = Reservations(
            self._ledger, self._checkpoints, self._in_force, self._code_hash, self._count
        )
        voided, interrupted = self._reservations.settle()
        self._ledger.install(self._installed, first=True)
        self._gate = Gate(home, self._ledger, self._in_force, self._code_hash)
        self._ending = threading.Event()
        self._sums = SumStates(home.sums)
        self._shared = SharedRounds(
            self._in_force,
            self._key,
            home.peers,
            self._sums,
            self._ledger,
            self._reservations,
            self._code_hash,
        )
        self._leave_out_withdrawn()
        self._busy, self._following = threading.Lock(), threading.Lock()
        self.progress = Progress(
            hospital=self._policy.hospital,
            network=network.words,
            base_hash=self._base.hash,
            code_hash=self._code_hash,
            slides=len(self._data.index.slides),
            skipped={name: error.reason for name, error in self._data.index.skipped.items()},
            skipped_rows=dict(self._data.manifest.skipped_rows),
            rows_left_out=self._data.manifest.left_out,
            samples=len(self._data.samples),
            voided_at_start=voided,
            interrupted_at_start=interrupted,
        )
        self._work = PaidWork(
            home,
            self._base,
            self._data,
            self._experts,
            self._in_force,
            self._checkpoints,
            self.progress,
            self._key,
            random or SecureRandom(),
            team,
            self._ending,
            vllm_of(home, 0, lambda: self._policy.gpu_memory_share),
        )
        self._count()

    def end(self, seconds: float) -> bool:
        """Take nothing more on, and wait, so long at most, until the step under way is done and kept; whether it was."""
        self._ending.set()
        return self._busy.acquire(timeout=seconds)

    @property
    def _policy(self) -> Policy:
        return self._in_force.now

    def _follow_policy(self) -> None:
        """Go by the file as it is now. Raises `Refused` where it is no policy: then nobody is trained on."""
        try:
            before = self._in_force.follow()
        except (HomeError, PolicyError) as error:
            raise Refused(Refusal.INTERNAL, str(error)) from error
        self._data.follow(self._policy.skip_bad_rows)
        if before != self._policy:
            tell(PolicyChanged(Digest(self._policy.hash)))
            memory.cap(self._base.device, self._policy.gpu_memory_share)
            self._count()

    @property
    def courier_methods(self) -> dict[str, Callable[[bytes], bytes]]:
        """What the courier's socket serves."""
        methods = {
            succession.METHOD: self._succession,
            "describe": self._describe,
            "train": self._train,
            "sum": self._sum,
            "evaluate": self._evaluate,
            "evaluate_noised": self._evaluate_noised,
            "receipt": self._receipt,
        }
        return {name: partial(self._answer, method) for name, method in methods.items()}

    @property
    def local_methods(self) -> dict[str, Callable[[bytes], bytes]]:
        """What local IT's socket serves; nothing of it ever reaches the courier."""
        return {
            "status": lambda request: canonical.encode(self._status()),
            "metrics": lambda request: self.figures(),
            "health": lambda request: b"ready",
        }

    def figures(self, up: bool = True) -> bytes:
        """What monitoring is told: `client.metrics`."""
        device = self._base.device
        memory = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None
        return metrics.text(
            self.progress.figures(up=up, budget=self._policy.epsilon_budget, memory=memory),
            self._home,
            datetime.now(UTC),
        )

    def _status(self) -> dict[str, object]:
        tested = self._ledger.last_selftest(self._code_hash)
        policy = self._policy
        return {
            **self.progress.snapshot(),
            **self._gate.status(),
            "policy": policy.hash,
            "epsilon_budget": policy.epsilon_budget,
            "delta": policy.delta,
            "selftest": selftest_word(tested),
        }

    def _answer(self, method: Callable[[Parts], bytes], request: bytes) -> bytes:
        try:
            return method(envelope.unpack(request, LIMIT))
        except Refused as error:
            return self._refused(error.code, error)
        except StoppedAfterStep as error:
            return self._refused(Refusal.UNREACHABLE, error)
        except WireError as error:
            return self._refused(Refusal.BAD_REQUEST, error)
        except Exception:
            number = incident()
            _LOG.exception("%s: this request failed", number)
            tell(RequestFailed(number))
            return self._code(Refusal.INTERNAL)

    def _refused(self, code: Refusal | SecaggFault, why: Exception) -> bytes:
        number = incident()
        _LOG.warning("%s: refused: %s", number, why)
        tell(RequestRefused(code, number))
        return self._code(code)

    def _code(self, code: Refusal | SecaggFault) -> bytes:
        self.progress.refused(code)
        return self._reply({egress.CODE: code.encode()})

    def _describe(self, parts: Parts) -> bytes:
        description = Description.of(self._policy, self._code_hash).to_bytes()
        return self._reply({egress.DESCRIPTION: description}, description=description)

    def _succession(self, parts: Parts) -> bytes:
        """The coordinator's key was followed by another. The answer is empty: nothing leaves."""
        try:
            with self._following:
                self._coordinator = follow(self._home, self._ledger, part(parts, succession.PART))
        except SignatureInvalid as error:
            raise Refused(Refusal.BAD_REQUEST, str(error)) from error
        return envelope.pack({})

    def _receipt(self, parts: Parts) -> bytes:
        """Keep a receipt: the round is over. The answer is empty: nothing leaves."""
        try:
            data = part(parts, "receipt")
            self._ledger.receipt(data, self._coordinator)
            receipt = Receipt.open(data, self._coordinator)
            self._sums.forget(receipt.campaign, receipt.round)
            tell(ReceiptKept(Name(receipt.campaign), Ordinal(receipt.round)))
        except (SignatureInvalid, LedgerError) as error:
            raise Refused(Refusal.BAD_REQUEST, str(error)) from error
        return envelope.pack({})

    def _train(self, parts: Parts) -> bytes:
        plan = signed(Plan, parts, "plan", self._coordinator)
        if plan.distributed is not None:
            raise Refused(Refusal.PLAN_INVALID, "the plan asks for a share of a sum, not for releases")
        with self._working(Phase.TRAINING, plan):
            self._follow_policy()
            releases = self._reservations.paid_for(
                plan, partial(self._judge, plan, parts), partial(self._work.sealed_round, plan, parts)
            )
            paid, whole = self._ledger.paid(plan.campaign, plan.round), self._experts.shapes(plan)
            shapes = {name: first_columns(whole[name], paid.max_rank) for name in releases}
            expected = Expectation(plan, self._signer(plan), shapes, LIMIT, math.inf)
            return self._reply({RELEASE + name: data for name, data in releases.items()}, expected=expected)

    def _sum(self, parts: Parts) -> bytes:
        """One step of a round under distributed trust."""
        plan = signed(Plan, parts, "plan", self._coordinator)
        session, step = signed_session(parts, self._coordinator), sum_step(parts)
        with self._working(Phase.SUMMING, plan):
            if step == STEPS[0]:  # later the round is under way
                self._follow_policy()
            message = self._shared.answer(
                plan,
                session,
                step,
                parts,
                partial(self._size, plan, step),
                partial(self._judge, plan, parts),
                partial(self._work.share, plan, parts),
            )
            expected = SumExpectation(session, self._policy.hospital, step)
            return self._reply({PARTS[step]: message}, expected=expected)

    def _layout(self, plan: Plan) -> Layout:
        """Where each number of the plan's experts stands. Raises `PlanRefused` where the policy does not allow the plan."""
        self._allow(plan)
        return Layout(self._experts.shapes(plan))

    def _size(self, plan: Plan, step: str) -> int:
        """How many numbers the sum has. Raises `PlanRefused` as `_layout` does, and where no session may begin."""
        size = self._layout(plan).size
        if step == STEPS[0]:
            self._gate.check(plan)
        return size

    def _evaluate_noised(self, parts: Parts) -> bytes:
        asked = signed(NoisedEvaluation, parts, "request", self._coordinator)
        with self._working(Phase.EVALUATING, asked):
            self._follow_policy()
            counts = self._reservations.paid_for(
                asked, partial(self._judge, asked, parts), partial(self._work.sealed_counts, asked)
            )
            return self._reply(counts, expected=CountsExpectation(asked, self._signer(asked)))

    def _judge(self, asked: Plan | NoisedEvaluation, parts: Parts) -> None:
        """Take in what is asked. Raises `PlanRefused` for what policy, data, experts or device do not allow."""
        self._leave_out_withdrawn()
        self._allow(asked)
        self._gate.check(asked)
        self._take_in(asked, parts)
        self._work.fit(asked)

    def _allow(self, asked: Plan | NoisedEvaluation) -> None:
        """Raise `PlanRefused` for what the policy does not allow, or where there is no data at all."""
        code = refusal(self._policy, asked, self._base.hash)
        if code is None and isinstance(asked, Plan) and self._data.empty:
            code = Refusal.NO_DATA
        if code is not None:
            raise PlanRefused(code, f"{asked.purpose}, round {asked.round} of {asked.campaign}")

    def _take_in(self, asked: Asked, parts: Parts) -> Experts:
        """The experts as they were sent; they stay in the home too, for local evaluation."""
        experts = self._experts.load(asked, parts)
        keep_received(self._home.experts, asked, parts)
        return experts

    def _signer(self, asked: Plan | NoisedEvaluation) -> Mapping[str, keys.PublicKey]:
        """This hospital's key under which the answer was sealed: an older one, where it was rotated since."""
        key = self._ledger.release_key(asked.campaign, asked.round, asked.purpose)
        return {self._policy.hospital: key}

    def _leave_out_withdrawn(self) -> None:
        """Nothing is drawn from them any more; the ledger says how many those are."""
        self._ledger.withdrawn(self._data.leave_out_withdrawn())

    def _evaluate(self, parts: Parts) -> bytes:
        with self._working(Phase.EVALUATING):
            self._follow_policy()
            if not self._policy.public_data:
                raise Refused(Refusal.NOT_OFFERED, "metrics of private data never leave")
            asked = Evaluation.from_bytes(part(parts, "request"))
            if asked.base_hash != self._base.hash:
                raise Refused(Refusal.BASE_MISMATCH, f"the request is for base {asked.base_hash}")
            self._leave_out_withdrawn()
            try:
                self._gate.check_pause()
                experts = self._take_in(asked, parts)
            except PlanRefused as error:
                raise Refused(error.code, str(error)) from error
            try:
                scores = evaluate_public(
                    self._policy.hospital,
                    experts,
                    asked,
                    self._data.samples,
                    self._data.index,
                    self._data.inputs,
                    self._home.evaluation,
                    self.progress.step,
                    self._policy.gpu_memory_share,
                )
            except memory.DeviceMemoryError as error:
                raise Refused(Refusal.DEVICE_MEMORY, str(error)) from error
            return self._reply({egress.METRICS: canonical.encode([asdict(score) for score in scores])})

    @contextmanager
    def _working(self, phase: Phase, asked: Plan | NoisedEvaluation | None = None) -> Iterator[None]:
        if self._ending.is_set():
            raise Refused(Refusal.UNREACHABLE, "the agent ends")
        if not self._busy.acquire(blocking=False):
            raise Refused(Refusal.BUSY, f"{phase} was asked for while at work")
        try:
            if asked is None:
                self.progress.begin(phase)
                tell(WorkBegan(phase))
            else:
                self.progress.begin(phase, campaign=asked.campaign, round=asked.round)
                tell(WorkBegan(phase, Name(asked.campaign), Ordinal(asked.round)))
            yield
        finally:
            self.progress.begin(Phase.IDLE)
            tell(WorkEnded(phase))
            self._busy.release()

    def _reply(
        self,
        parts: Parts,
        *,
        expected: egress.Expected | None = None,
        description: bytes | None = None,
    ) -> bytes:
        """The last look: only what the egress guard lets through is logged and leaves."""
        records = egress.check_reply(
            parts,
            self._policy,
            limit=LIMIT,
            epsilon=self.progress.epsilon,
            destination=self._coordinator,
            expected=expected,
            description=description,
        )
        self._ledger.log_egress(records)
        self.progress.left(records)
        for record in records:
            tell(PartLeft(Digest(record.sha256), Bytes(record.bytes)))
        return envelope.pack(parts)

    def _count(self) -> None:
        self.progress.epsilon = self._ledger.epsilon(self._policy.delta)

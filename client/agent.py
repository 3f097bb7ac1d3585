"""The agent: the hospital's own process that holds slides, keys and ledger, and answers through a socket.

What comes in is hostile data, judged in this order: signature, form, answered before, policy, experts,
budget. What goes out passes `privacy.egress` and is logged. A failure crosses as a code from a closed set;
what it was stands in this process' own log.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from client.errors import SlideError
from client.home import Home
from client.model.base import Base
from client.model.errors import ModelError
from client.model.experts import Experts, attach
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.network import Network
from client.progress import Progress
from client.rpc import LIMIT
from client.slides.index import index_slides
from client.tasks.manifest import read_manifest
from client.training.evaluate import evaluate
from client.training.round import train_round
from client.withdrawn import read_withdrawn
from privacy import canonical, egress, envelope, keys, tensors
from privacy.code_hash import code_hash
from privacy.codes import Refusal
from privacy.delta import ExpertDelta
from privacy.description import Description
from privacy.egress_record import RELEASE
from privacy.errors import LedgerError, PlanError, PlanRefused, SignatureInvalid, WireError
from privacy.evaluation import Evaluation
from privacy.experts import EXPERTS
from privacy.ledger.store import Ledger
from privacy.plan import Plan
from privacy.policy import refusal
from privacy.randomness import RandomSource, SecureRandom
from privacy.release import Expectation, seal

_LOG = logging.getLogger("fedpath.agent")

ANSWER_TOKENS = 96  # the longest answer that an evaluation reads

Parts = Mapping[str, bytes]
Tensors = dict[str, NDArray[np.float32]]


class Refused(Exception):  # noqa: N818 - reads as what happened
    """The request is answered by `code`."""

    def __init__(self, code: Refusal, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


class Agent:
    """One hospital's agent. Opening it loads the base, reads slides and manifest, and settles the ledger.

    Thread-safe: one training or evaluation at a time, others are told "busy". `random` is a source of
    secrets; only tests give another.
    """

    def __init__(self, home: Home, network: Network, random: RandomSource | None = None) -> None:
        self._settings, self._policy = home.settings, home.policy
        self._key, self._coordinator = keys.load(home.release_key), home.coordinator
        self._code_hash = code_hash()
        self._description = Description.of(self._policy, self._code_hash).to_bytes()
        self._random: RandomSource = random or SecureRandom()
        index = index_slides(self._settings.slides)
        manifest = read_manifest(self._settings.manifest, index.slides, index.skipped)
        self._samples = manifest.samples
        self._base = Base.load(self._settings.base, "cuda" if torch.cuda.is_available() else "cpu")
        self._inputs = InputLoader(self._base, index.slides, SlideFeatures(self._base, home.features))
        self._experts: Experts | None = None
        self._ledger = Ledger(home.ledger, self._key)
        voided = self._ledger.void_unspent()
        self._withdrawn = home.withdrawn
        self._leave_out_withdrawn()
        self._busy = threading.Lock()
        self.progress = Progress(
            hospital=self._policy.hospital,
            network=network.words,
            base_hash=self._base.hash,
            code_hash=self._code_hash,
            slides=len(index.slides),
            skipped={name: error.reason for name, error in index.skipped.items()},
            skipped_rows=dict(manifest.skipped_rows),
            samples=len(self._samples),
            epsilon_budget=self._policy.epsilon_budget,
            delta=self._policy.delta,
            voided_at_start=voided,
        )
        self._count()

    @property
    def courier_methods(self) -> dict[str, Callable[[bytes], bytes]]:
        """What the courier's socket serves."""
        methods = {
            "describe": self._describe,
            "train": self._train,
            "evaluate": self._evaluate,
            "receipt": self._receipt,
        }
        return {name: partial(self._answer, method) for name, method in methods.items()}

    @property
    def local_methods(self) -> dict[str, Callable[[bytes], bytes]]:
        """What local IT's socket serves; nothing of it ever reaches the courier."""
        return {"status": lambda request: canonical.encode(self.progress.snapshot())}

    def _answer(self, method: Callable[[Parts], bytes], request: bytes) -> bytes:
        try:
            return method(envelope.unpack(request, LIMIT))
        except Refused as error:
            _LOG.warning("refused: %s", error)
            return self._reply({egress.CODE: error.code.encode()})
        except WireError as error:
            _LOG.warning("bad request: %s", error)
            return self._reply({egress.CODE: Refusal.BAD_REQUEST.encode()})
        except Exception:
            _LOG.exception("this request failed")
            return self._reply({egress.CODE: Refusal.INTERNAL.encode()})

    def _describe(self, parts: Parts) -> bytes:
        return self._reply({egress.DESCRIPTION: self._description}, description=self._description)

    def _receipt(self, parts: Parts) -> bytes:
        """Keep a receipt. The answer is empty: nothing leaves."""
        try:
            self._ledger.receipt(_part(parts, "receipt"), self._coordinator)
        except (SignatureInvalid, LedgerError) as error:
            raise Refused(Refusal.BAD_REQUEST, str(error)) from error
        return envelope.pack({})

    def _train(self, parts: Parts) -> bytes:
        plan = self._open_plan(parts)
        with self._working("training", campaign=plan.campaign, round=plan.round):
            try:
                releases = self._ledger.sent(plan.campaign, plan.round, plan.hash)
                if releases is None:
                    releases = self._train_anew(plan, parts)
            except PlanRefused as error:
                self._ledger.refuse(error.code, plan.hash)
                raise Refused(error.code, str(error)) from error
            shapes = {name: self._attached(plan).shapes(name) for name in releases}
            key = self._ledger.release_key(
                plan.campaign, plan.round
            )  # an older one, where it was rotated since
            expected = Expectation(plan, {self._policy.hospital: key}, shapes, LIMIT, math.inf)
            return self._reply({RELEASE + name: data for name, data in releases.items()}, expected=expected)

    def _open_plan(self, parts: Parts) -> Plan:
        try:
            return Plan.open(_part(parts, "plan"), _part(parts, "signature"), self._coordinator)
        except SignatureInvalid as error:
            raise Refused(Refusal.PLAN_UNSIGNED, str(error)) from error
        except PlanError as error:
            raise Refused(Refusal.PLAN_INVALID, str(error)) from error

    def _train_anew(self, plan: Plan, parts: Parts) -> Mapping[str, bytes]:
        """Judge, reserve, train, seal, spend. Nothing is reserved for a plan that can't be trained."""
        self._leave_out_withdrawn()
        code = refusal(self._policy, plan, self._base.hash)
        if code is None and not self._samples:
            code = Refusal.NO_DATA
        if code is not None:
            raise PlanRefused(code, f"round {plan.round} of {plan.campaign}")
        self._load(self._attached(plan), self._states(parts, plan.experts_hash))
        reservation = self._ledger.reserve(plan, self._policy, self._code_hash)
        self._count()
        try:
            deltas = self._train_readable(plan)
            name, key = self._policy.hospital, self._key
            releases = {expert: seal(delta, reservation, plan, name, key) for expert, delta in deltas.items()}
        except BaseException:
            self._ledger.void(reservation)  # nothing was sealed, so nothing can have been sent
            self._count()
            raise
        self._ledger.spend(reservation, releases)
        return releases

    def _train_readable(self, plan: Plan) -> Mapping[str, ExpertDelta]:
        """Train; a slide that can't be read any more is skipped, and the round begun again without it."""
        while True:
            try:
                return train_round(
                    self._attached(plan),
                    plan.restricted(self._policy.experts),
                    self._samples,
                    self._inputs,
                    plan,
                    self._policy.nominal_patients,
                    self._random,
                    self.progress.step,
                )
            except SlideError as error:
                _LOG.warning("skipped from now on: %s", error)
                self._samples = tuple(sample for sample in self._samples if sample.slide != error.name)
                self.progress.skip(error.name, error.reason)

    def _leave_out_withdrawn(self) -> None:
        """From now on nothing is drawn from a patient who has withdrawn; the ledger says how many those are."""
        withdrawn = read_withdrawn(self._withdrawn)
        self._samples = tuple(sample for sample in self._samples if sample.patient not in withdrawn)
        self._ledger.withdrawn(len(withdrawn))

    def _evaluate(self, parts: Parts) -> bytes:
        if not self._policy.public_data:
            raise Refused(Refusal.NOT_OFFERED, "metrics of private data never leave")
        asked = Evaluation.from_bytes(_part(parts, "request"))
        if asked.base_hash != self._base.hash:
            raise Refused(Refusal.BASE_MISMATCH, f"the request is for base {asked.base_hash}")
        with self._working("evaluating"):
            self._leave_out_withdrawn()
            experts = self._attached(asked)
            try:
                self._load(experts, self._states(parts, asked.experts_hash))
            except PlanRefused as error:
                raise Refused(error.code, str(error)) from error
            scores = evaluate(
                experts,
                self._samples,
                self._inputs,
                "thinking" if asked.stage == "grpo" else "direct",
                ANSWER_TOKENS,
                scale_experts=any(name.startswith("scale/") for name in asked.experts_hash),
                task_experts=any(name.startswith("task/") for name in asked.experts_hash),
                progress=self.progress.step,
            )
            return self._reply({egress.METRICS: canonical.encode([asdict(score) for score in scores])})

    def _states(self, parts: Parts, hashes: Mapping[str, str]) -> dict[str, Tensors]:
        """The experts sent along: exactly those that the request names, each with the bytes that it names."""
        states = {}
        for expert, digest in hashes.items():
            data = parts.get(f"expert/{expert}", b"")
            if tensors.digest(data) != digest:
                raise PlanRefused(
                    Refusal.EXPERTS_MISMATCH, f"{expert} is missing or not the state that was named"
                )
            states[expert] = tensors.decode(data, LIMIT)
        return states

    def _attached(self, asked: Plan | Evaluation) -> Experts:
        """All experts on the base, of the rank, alpha and seed that are asked for."""
        shape = (asked.expert_rank, asked.expert_alpha, asked.expert_seed)
        held = self._experts
        if held is None or (held.rank, held.alpha, held.seed) != shape:
            held = self._experts = attach(self._base, EXPERTS, *shape)
        return held

    def _load(self, experts: Experts, states: Mapping[str, Tensors]) -> None:
        """Set every expert: as it was sent, or else to its public start."""
        for name in experts.names:
            try:
                experts.load(name, states[name] if name in states else experts.initial(name))
            except ModelError as error:
                raise PlanRefused(Refusal.EXPERTS_MISMATCH, str(error)) from error

    @contextmanager
    def _working(self, phase: str, **about: str | int) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise Refused(Refusal.BUSY, f"{phase} was asked for while at work")
        try:
            self.progress.begin(phase, **about)
            yield
        finally:
            self.progress.begin("idle")
            self._busy.release()

    def _reply(
        self, parts: Parts, *, expected: Expectation | None = None, description: bytes | None = None
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
        return envelope.pack(parts)

    def _count(self) -> None:
        self.progress.epsilon = self._ledger.epsilon(self._policy.delta)


def _part(parts: Parts, name: str) -> bytes:
    if name not in parts:
        raise WireError(f"the request has no part {name!r}")
    return parts[name]

"""What the store hands out: frozen rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from privacy.evaluation import NoisedEvaluation
from privacy.keys import PublicKey
from privacy.plan import Plan
from privacy.sealed_counts import SealedCounts

REVOKED = "revoked"  # why an answer does not count


@dataclass(frozen=True)
class Hospital:
    """An enrolled hospital. `supernode_key` is the PEM by which Flower knows its node."""

    name: str
    release_key: PublicKey
    supernode_key: bytes
    evaluator: bool
    experts: tuple[str, ...] | None = None
    code_hash: str | None = None
    named_as: str | None = None


@dataclass(frozen=True)
class Invited:
    """A hospital that may answer an invitation until `expires_at`."""

    hospital: str
    evaluator: bool
    expires_at: str


@dataclass(frozen=True)
class Revoked:
    """A hospital that was revoked and not enrolled again."""

    hospital: str
    supernode_key: bytes
    evaluator: bool
    at: str
    reason: str


@dataclass(frozen=True)
class OpenRound:
    """A round that was begun: its plan, signed once and for all, so that every asking has the same bytes."""

    plan: Plan
    signature: bytes
    attempt: int
    opened_at: str


@dataclass(frozen=True)
class OpenEvaluation:
    """A noised evaluation that was begun: its request, signed once and for all."""

    request: NoisedEvaluation
    signature: bytes
    opened_at: str


@dataclass(frozen=True)
class NoisedAnswer:
    """What one hospital answered to a noised evaluation: counts, or `fault`, a word on why there are none.

    `digest` is the SHA-256 of the bytes that it sent, where it sent counts at all.
    """

    hospital: str
    fault: str | None
    digest: str | None = None
    counts: SealedCounts | None = None


@dataclass(frozen=True)
class Owed:
    """A receipt that its hospital has not taken yet: `data` is what travels."""

    campaign: str
    number: int
    hospital: str
    data: bytes


@dataclass(frozen=True)
class Row:
    """One evaluated task at one scale: the metric's mean over `n` samples and its 95 % interval; `further` where it is told
    beside the task's own metric.
    """

    scale: str
    task: str
    metric: str
    mean: float
    low: float
    high: float
    n: int
    further: bool


@dataclass(frozen=True)
class RunState:
    """Where a campaign stands: `state` is running, paused, stopped, failed or done; `run_id` is Flower's, of its
    latest run.
    """

    state: str
    run_id: str
    doing: str
    failure: str | None
    rounds: int
    committed: int
    states: Mapping[str, str]

"""What a hospital's log can say: `privacy.events` has the rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from privacy.codes import Refusal, SecaggFault
from privacy.events import Bytes, Digest, Event, Level, Name, Ordinal, Seconds, Status


class Phase(StrEnum):
    """What an agent is at."""

    IDLE = "idle"
    TRAINING = "training"
    SUMMING = "summing"
    EVALUATING = "evaluating"


@dataclass(frozen=True)
class AgentStarting(Event):
    """`cut`: whether it has left the machine's network."""

    cut: bool
    gpus: Ordinal


@dataclass(frozen=True)
class AgentOpening(Event):
    """It goes on opening its slides: a sign of life, which says neither how many there are nor what share is done."""


@dataclass(frozen=True)
class AgentReady(Event):
    """It serves."""


@dataclass(frozen=True)
class AgentEnding(Event):
    """It was told to end, or has lost a worker."""

    lost_a_worker: bool


@dataclass(frozen=True)
class WorkBegan(Event):
    """A signed request was taken up."""

    phase: Phase
    campaign: Name | None = None
    round: Ordinal | None = None


@dataclass(frozen=True)
class WorkEnded(Event):
    """It was answered, by releases or otherwise."""

    phase: Phase


@dataclass(frozen=True)
class RequestRefused(Event):
    """It was answered by a code; the words stand among the details."""

    level = Level.WARNING
    code: Refusal | SecaggFault
    incident: Digest


@dataclass(frozen=True)
class RequestFailed(Event):
    """It was answered by `internal`: a fault of ours, or of the machine's."""

    level = Level.ERROR
    incident: Digest


@dataclass(frozen=True)
class PartLeft(Event):
    """A part of a reply passed the egress guard."""

    sha256: Digest
    bytes: Bytes


@dataclass(frozen=True)
class PolicyChanged(Event):
    """From this plan on the agent goes by another policy, which the ledger has."""

    policy: Digest


@dataclass(frozen=True)
class StepOutlasted(Event):
    """The agent ends before the step under way is kept: it is drawn anew."""

    level = Level.WARNING


@dataclass(frozen=True)
class ReceiptKept(Event):
    """The coordinator's word on a round."""

    campaign: Name
    round: Ordinal


@dataclass(frozen=True)
class CourierStarting(Event):
    """`contained`: by a container or a unit, and not by itself."""

    contained: bool


@dataclass(frozen=True)
class SupernodeEnded(Event):
    """Flower's SuperNode ended, and is started again."""

    level = Level.WARNING
    status: Status
    again_in: Seconds

"""What the consortium's log can say: `privacy.events` has the rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from privacy.codes import Refusal, ReleaseFault, SecaggFault
from privacy.events import Bytes, Digest, Event, Level, Name, Ordinal, Seconds, Status
from server.records import REVOKED

NO_ANSWER = "no-answer"


class Answer(StrEnum):
    """What came of asking a hospital, besides codes."""

    RELEASES = "releases"  # sealed releases, each judged by itself
    NO_ANSWER = NO_ANSWER  # none by the deadline
    REVOKED = REVOKED  # it was revoked before its answer counted
    OTHER = "other"  # a word of no closed set


Word = Answer | Refusal | ReleaseFault | SecaggFault


def closed(word: str) -> Word:
    """A hospital's word as one of a closed set: it is hostile input."""
    for kind in (Answer, Refusal, ReleaseFault, SecaggFault):
        if word in set(kind):
            return kind(word)
    return Answer.OTHER


@dataclass(frozen=True)
class SuperlinkStarting(Event):
    """Flower's SuperLink is started; its own log is Flower's."""

    port: Ordinal


@dataclass(frozen=True)
class SuperlinkEnded(Event):
    """It ended, and `start` with it."""

    level = Level.WARNING
    status: Status


@dataclass(frozen=True)
class NodeKnown(Event):
    """The SuperLink lets this hospital's node in."""

    hospital: Name


@dataclass(frozen=True)
class NodesForgotten(Event):
    """The SuperLink lets the nodes of the revoked in no more."""

    nodes: Ordinal


@dataclass(frozen=True)
class NodesNotBroughtUpToDate(Event):
    """The SuperLink could not be told who was enrolled or revoked, and is told again until it can; `details` says why."""

    level = Level.WARNING
    incident: Digest


@dataclass(frozen=True)
class CampaignRunning(Event):
    """It was begun, or taken up again."""

    campaign: Name


@dataclass(frozen=True)
class CampaignFollowed(Event):
    """What `run` sees of it."""

    campaign: Name
    committed: Ordinal
    of: Ordinal


@dataclass(frozen=True)
class CampaignDone(Event):
    """All of its rounds are committed."""

    campaign: Name


@dataclass(frozen=True)
class CampaignFailed(Event):
    """This run of it ended early; `fedpath-consortium status` says why."""

    level = Level.ERROR
    campaign: Name


@dataclass(frozen=True)
class RoundOpened(Event):
    """Its plan is signed, or sent once more."""

    campaign: Name
    round: Ordinal
    attempt: Ordinal


@dataclass(frozen=True)
class HospitalAnswered(Event):
    """With releases, or with a code."""

    campaign: Name
    round: Ordinal
    hospital: Name
    answer: Word
    bytes: Bytes


@dataclass(frozen=True)
class ReleaseRefused(Event):
    """A part of an answer does not count."""

    level = Level.WARNING
    campaign: Name
    round: Ordinal
    hospital: Name
    fault: Word


@dataclass(frozen=True)
class RoundCommitted(Event):
    """It stands."""

    campaign: Name
    round: Ordinal
    gather: Seconds
    wait: Seconds
    aggregate: Seconds

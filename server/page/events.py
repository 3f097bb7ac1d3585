"""What is done from the page, in the log: by whom, and nothing of what else was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from privacy.events import Event, Level, Name
from server.page.access.roles import Role


class Action(StrEnum):
    """What a coordinator does to a campaign."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


@dataclass(frozen=True)
class CampaignStarted(Event):
    """It was submitted from the page."""

    campaign: Name
    user: Name


@dataclass(frozen=True)
class CampaignSteered(Event):
    """It was paused, resumed or stopped from the page; the journal has the decision."""

    campaign: Name
    action: Action
    user: Name


@dataclass(frozen=True)
class LoggedIn(Event):
    """A user, by password or through the identity provider."""

    user: Name
    role: Role


@dataclass(frozen=True)
class LogInRefused(Event):
    """Somebody gave a wrong name or password, or tried too often. Who is not told: people type passwords into wrong fields."""

    level = Level.WARNING


@dataclass(frozen=True)
class LoggedOut(Event):
    """A user ended a session."""

    user: Name

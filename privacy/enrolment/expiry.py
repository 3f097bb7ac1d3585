"""What ends when: told weeks ahead, so that nothing ends unseen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from privacy.ledger.entries import written

WARNING_DAYS, PROBLEM_DAYS = 30, 3


class Level(StrEnum):
    """How near the end is."""

    FINE = "fine"
    WARNING = "warning"  # fewer than `WARNING_DAYS` whole days are left
    PROBLEM = "problem"  # fewer than `PROBLEM_DAYS`, or it has ended


@dataclass(frozen=True)
class Expiry:
    """When something ends; `days` are the whole days that are left, negative where it has ended."""

    what: str
    at: datetime
    days: int

    @classmethod
    def of(cls, what: str, at: datetime, now: datetime) -> Expiry:
        """What is left of it."""
        return cls(what, at, (at - now) // timedelta(days=1))

    @property
    def level(self) -> Level:
        """How near the end is."""
        if self.days < PROBLEM_DAYS:
            return Level.PROBLEM
        return Level.WARNING if self.days < WARNING_DAYS else Level.FINE

    def to_dict(self) -> dict[str, str | int]:
        """As `status --json` has it."""
        return {"what": self.what, "expires": written(self.at), "days_left": self.days, "level": self.level}

    def __str__(self) -> str:
        day = self.at.date().isoformat()
        if self.days < 0:
            return f"the {self.what} expired on {day}"
        return f"the {self.what} expires in {self.days} days, on {day}"

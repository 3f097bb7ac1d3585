"""The word that a campaign waits for its database, kept where it can be read while the database is away."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from privacy.ledger.entries import written

_LOG = logging.getLogger("fedpath.store")


@dataclass(frozen=True)
class Wait:
    """Since when, and until when at most: ISO times."""

    since: str
    until: str


@dataclass(frozen=True)
class WaitingNote:
    """A file that is there as long as a campaign waits; it is of use to people only, so one that can't be written is let be.

    Whoever is killed leaves it behind: believe it of a campaign that some process runs.
    """

    path: Path

    def begin(self, now: datetime, seconds: float) -> None:
        """Say that the wait began, and how long it may last."""
        wait = Wait(written(now), written(now + timedelta(seconds=seconds)))
        try:
            self.path.write_text(json.dumps(asdict(wait)), "utf-8")
        except OSError as error:
            _LOG.warning("%s: %s", self.path, error.strerror)

    def end(self) -> None:
        """Say so no more."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("%s: %s", self.path, error.strerror)

    def read(self) -> Wait | None:
        """The wait, where there is one."""
        try:
            found = json.loads(self.path.read_text("utf-8"))
            return Wait(str(found["since"]), str(found["until"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

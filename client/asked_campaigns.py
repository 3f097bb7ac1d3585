"""What campaigns asked for and nobody here has approved: a file of the home that the agent writes and IT reads.

It holds so many campaigns at most, those that asked last: a coordinator that makes up names without end only pushes out its
own, and a campaign that asks still comes back with its next plan. Names are spelled as `privacy.plan` has them.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from privacy import canonical, durable
from privacy.errors import MechanismError, WireError
from privacy.evaluation import NoisedEvaluation
from privacy.ledger.entries import written
from privacy.mechanism import Event
from privacy.plan import Plan

MOST = 64
_MOST_BYTES = 256 * 1024


@dataclass(frozen=True)
class Asked:
    """What a campaign asked for last, and since when it asks.  Times as the ledger writes them."""

    campaign: str
    first: str
    last: str
    purpose: str
    round: int
    experts: tuple[str, ...]
    steps: int
    event: Event

    def to_dict(self) -> dict[str, object]:
        """As JSON values."""
        return {**asdict(self), "experts": list(self.experts), "event": self.event.to_dict()}


class AskedCampaigns:
    """The file at `path`.  One that can't be read counts as empty: it only says who asked, and they ask again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def all(self) -> tuple[Asked, ...]:
        """Those that are kept, who asked last at the end."""
        try:
            values = canonical.decode(self._path.read_bytes(), _MOST_BYTES)
            return tuple(
                Asked(**{**one, "experts": tuple(one["experts"]), "event": Event.from_dict(one["event"])})
                for one in values
            )
        except (OSError, WireError, MechanismError, TypeError, KeyError):
            return ()

    def note(self, asked: Plan | NoisedEvaluation, at: datetime) -> None:
        """Keep what was asked, durably, in place of what this campaign asked for before."""
        with self._lock:
            others = {one.campaign: one for one in self.all()}
            before = others.pop(asked.campaign, None)
            event = asked.event()
            new = Asked(
                asked.campaign,
                written(at) if before is None else before.first,
                written(at),
                asked.purpose,
                asked.round,
                asked.experts if isinstance(asked, Plan) else tuple(sorted(asked.experts_hash)),
                event.steps,
                event,
            )
            kept = [*others.values(), new][-MOST:]
            durable.replace(self._path, canonical.encode([one.to_dict() for one in kept]))

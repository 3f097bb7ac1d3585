"""What the agent does at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from privacy.ledger.account import Account


@dataclass(frozen=True)
class Now:
    """As the agent says it. `step` of `of` are done, 0 of 0 where nothing is counted; `stage` and `experts` stand in the
    ledger, of the round that is charged for. `bytes` and `releases` left since the agent started.
    """

    phase: str
    since: datetime
    step: int
    of: int
    campaign: str | None
    round: int | None
    stage: str | None
    experts: tuple[str, ...]
    bytes: int
    releases: int

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self.phase == "idle"


def now(status: Mapping[str, Any], account: Account | None) -> Now | None:
    """Of an agent's status; None where no agent answered, or one that speaks otherwise."""
    try:
        campaign, number = status.get("campaign"), status.get("round")
        held = [] if account is None else list(account.open.values())
        charge = next((one for one in held if (one.campaign, one.round) == (campaign, number)), None)
        return Now(
            str(status["phase"]),
            datetime.fromtimestamp(float(status["since"]), UTC),
            int(status["step"]),
            int(status["of"]),
            None if campaign is None else str(campaign),
            None if number is None else int(number),
            None if charge is None else charge.stage,
            () if charge is None else charge.experts,
            int(status["bytes_sent"]),
            int(status["releases_sent"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None

"""What hospital IT has set before anything may begin: pause, and what the ledger holds against campaign, hour and code."""

from __future__ import annotations

from datetime import UTC, datetime

from client import paused
from client.asked_campaigns import AskedCampaigns
from client.errors import HomeError
from client.home import Home
from client.policy_in_force import PolicyInForce
from privacy.codes import Refusal
from privacy.errors import PlanRefused, PolicyError
from privacy.evaluation import NoisedEvaluation
from privacy.ledger.entries import written
from privacy.ledger.store import Ledger
from privacy.plan import Plan

PENDING = "other code is installed than was recorded: nothing trains until `fedpath-hospital upgrade`"


class Gate:
    """The gate of one agent, whose code is `code_hash`."""

    def __init__(self, home: Home, ledger: Ledger, policy: PolicyInForce, code_hash: str) -> None:
        self._home, self._ledger, self._policy, self._code_hash = home, ledger, policy, code_hash
        self._asked = AskedCampaigns(home.asked_campaigns)

    def check(self, asked: Plan | NoisedEvaluation) -> None:
        """Raise `PlanRefused` for what may not begin, or go on, now. Who waits for approval is kept for IT to see."""
        self.check_pause()
        try:
            self._ledger.check_begin(asked, self._policy.now, self._code_hash)
        except PlanRefused as error:
            if error.code is Refusal.AWAITING_APPROVAL:
                self._asked.note(asked, datetime.now(UTC))
            raise

    def check_pause(self) -> None:
        """Raise `PlanRefused` while the hospital is paused."""
        if paused.since(self._home.paused) is not None:
            raise PlanRefused(Refusal.PAUSED, "the hospital is paused: `fedpath-hospital resume` ends that")

    def status(self) -> dict[str, str | None]:
        """How it stands, in words for IT."""
        since, known = paused.since(self._home.paused), self._ledger.installed()
        return {
            "paused_since": None if since is None else written(since),
            "opens": self._opens(),
            "upgrade": PENDING if known is not None and known.code != self._code_hash else "none pending",
        }

    def _opens(self) -> str | None:
        """When a round may begin, or may next, by the file, as the next plan is judged; what is wrong with that, where it is.
        None: at any hour.
        """
        try:
            opening = self._home.policy.opening
        except (HomeError, PolicyError) as error:
            return f"not at all: {error}"
        return None if opening is None else written(opening.open_next(datetime.now(UTC)))

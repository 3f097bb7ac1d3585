"""The policy that an agent goes by: the file's, read between rounds and recorded before it is used."""

from __future__ import annotations

from collections.abc import Callable

from privacy.ledger.store import Ledger
from privacy.policy import Policy


class PolicyInForce:
    """`now` stays as it is through a round, whatever becomes of the file meanwhile; `read` is the way to the file."""

    def __init__(self, ledger: Ledger, read: Callable[[], Policy]) -> None:
        self._ledger, self._read = ledger, read
        self.now = read()

    def record(self) -> None:
        """Write the policy into the ledger, where it is not the one in force there."""
        self._ledger.adopt(self.now)

    def follow(self) -> Policy:
        """Go by the file as it is now, and record it; returns the policy before.

        For the begin of what is asked, with nothing under way. Raises what `read` does where the file is no
        policy: then nothing changes, and nothing may be trained.
        """
        before, self.now = self.now, self._read()
        self.record()
        return before

    def is_recorded(self) -> bool:
        """Whether the ledger goes by it still: another may have been set since."""
        return self._ledger.goes_by(self.now)

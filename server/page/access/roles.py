"""The three roles of the page, each of which may what those before it may."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """In the order of what they may."""

    READ_ONLY = "read-only"  # campaigns, rounds, scores, experts, hospitals' states
    AUDITOR = "auditor"  # and what privacy was spent, refused releases, the journal and its export
    COORDINATOR = "coordinator"  # and start, pause, resume and stop campaigns

    def may(self, needed: Role) -> bool:
        """Whether this role is enough where `needed` is."""
        order = list(Role)
        return order.index(self) >= order.index(needed)

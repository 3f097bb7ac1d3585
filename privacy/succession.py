"""The keys that followed a coordinator's, as they travel to hospitals and lie there: canonical JSON, a list of handovers."""

from __future__ import annotations

from collections.abc import Sequence

from privacy import canonical
from privacy.errors import WireError
from privacy.handover import Handover, successors
from privacy.keys import PublicKey, Purpose

METHOD, PART = "coordinator", "handovers"  # of the agent's, and what it is given
LIMIT = 64 * 1024


def to_bytes(handovers: Sequence[Handover]) -> bytes:
    """What `from_bytes` reads."""
    return canonical.encode([handover.to_dict() for handover in handovers])


def from_bytes(data: bytes, consortium: str, trusted: PublicKey) -> tuple[Handover, ...]:
    """Those that lead on from the `trusted` key of this consortium, each verified; none where none begins there.

    Raises `WireError` for other bytes, `SignatureInvalid` for a proof that the key before it did not make.
    """
    items = canonical.decode(data, LIMIT)
    if not isinstance(items, list):
        raise WireError("not a list of handovers")
    handovers = [Handover.from_dict(consortium, item) for item in items]
    return successors(handovers, consortium, trusted, Purpose.SUCCESSION)

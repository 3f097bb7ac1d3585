"""Whether releases tell a canary's presence better than the claimed epsilon allows."""

from __future__ import annotations

from collections.abc import Sequence

from privacy.audit_bounds import repeated_releases_bound
from privacy.selftest.verdict import Check, Finding

CONFIDENCE = 1 - 1e-6  # so a right installation fails by chance once in a million self-tests


def distinguishing_findings(
    present: Sequence[float],
    absent: Sequence[float],
    threshold: float,
    delta: float,
    claim: float,
    where: str,
) -> tuple[float, list[Finding]]:
    """The lower bound on epsilon, and a finding where it lies above `claim`.

    Scores, `threshold` and `delta` as for `repeated_releases_bound`.
    """
    bound = repeated_releases_bound(present, absent, threshold, delta, CONFIDENCE)
    if bound <= claim:
        return bound, []
    what = f"epsilon is at least {bound:.2f}, claimed was {claim:.2f} (delta {delta:g})"
    return bound, [Finding(Check.DISTINGUISHING, where, what)]

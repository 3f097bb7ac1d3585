"""What a self-test says: findings from a closed list of checks, and the verdict that the ledger keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

LOWER_BOUND, CLAIMED = (
    "epsilon_lower_bound",
    "epsilon_claimed",
)  # of all that is measured, what the ledger keeps


class Check(StrEnum):
    """What is checked; the names that stand in the ledger."""

    SENSITIVITY = "sensitivity"
    INDEPENDENCE = "independence"  # of what one patient adds from who else is there
    SAMPLING = "sampling"
    STEPS = "steps"  # a round is the sum of its own steps, over the public number
    NOISE_SCALE = "noise-scale"
    NOISE_REPEATS = "noise-repeats"
    DISTINGUISHING = "distinguishing"
    CHARGED_ONCE = "charged-once"
    NO_RELEASE = "no-release"  # the path to be tested gave nothing to test


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: `where` in the self-test it showed, and `what` was measured against what."""

    check: Check
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.check}: {self.where}: {self.what}"


@dataclass(frozen=True)
class Verdict:
    """A self-test's outcome for the code whose hash is `code`.  It passed where nothing was found.

    `measured` holds the figures behind it (greatest movement, least power, lower bound, claim).  All of it
    comes from made-up patients, so all of it may be shown to anyone.
    """

    code: str
    findings: tuple[Finding, ...]
    measured: Mapping[str, float]

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def names(self) -> list[str]:
        """The checks that found something, each once, sorted."""
        return sorted({str(finding.check) for finding in self.findings})

    def to_body(self) -> dict[str, Any]:
        """What the ledger keeps of it, as JSON values: names of findings, not texts."""
        return {"passed": self.passed, "code": self.code, "findings": self.names, "bound": self.bound}

    @property
    def bound(self) -> dict[str, float] | None:
        """Epsilon as measured from below, beside the claim; None where it was not measured."""
        lower, claimed = (self.measured.get(name) for name in (LOWER_BOUND, CLAIMED))
        return None if lower is None or claimed is None else {"lower": lower, "claimed": claimed}

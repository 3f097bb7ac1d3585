"""One patient more moves the sum by at most the clip norm: measured without noise, so nothing is left to chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.selftest.verdict import Check, Finding

Tensors = Mapping[str, NDArray[np.floating]]

ROUNDING = 1e-3  # gradients are float32: the same patient in another batch differs in the last bits
LEAST_SEEN = 0.9  # of the clip norm: a self-test that moves less has tested nothing


@dataclass(frozen=True)
class Movement:
    """How far a patient more moved a sum: ||f(D + p) - f(D)||, `share` in units of the clip norm."""

    where: str
    share: float


def distance(a: Tensors, b: Tensors) -> float:
    """The L2 distance of two sums, all tensors together; `inf` where either holds NaN or infinity.

    Raises `ValueError` for other names or shapes.
    """
    if {name: value.shape for name, value in a.items()} != {name: value.shape for name, value in b.items()}:
        raise ValueError("two sums over the same parameters are needed")
    square = sum(float(np.square(a[name].astype(np.float64) - b[name]).sum()) for name in a)
    return math.sqrt(square) if math.isfinite(square) else math.inf


def sensitivity_findings(movements: Sequence[Movement]) -> list[Finding]:
    """A finding for each movement beyond the clip norm, and one where none came near it."""
    findings = [
        Finding(Check.SENSITIVITY, movement.where, f"moved the sum by {movement.share:.3f} of the clip norm")
        for movement in movements
        if not movement.share <= 1 + ROUNDING
    ]
    most = max((movement.share for movement in movements), default=0.0)
    if most < LEAST_SEEN:
        what = (
            f"nobody moved the sum by more than {most:.3f} of the clip norm: the clip was not put to the test"
        )
        findings.append(Finding(Check.SENSITIVITY, "all", what))
    return findings

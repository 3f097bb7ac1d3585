"""One patient more moves the sum by at most the clip norm, and leaves the others' part of it as it was: measured
without noise, so nothing is left to chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.selftest.verdict import Check, Finding

Tensors = Mapping[str, NDArray[np.floating]]

ROUNDING = 1e-3  # gradients are float32: the same patient in another batch differs in the last bits
OTHERS = 0.1  # of the clip norm: what rounding may change of the others' part, bf16 included
LEAST_SEEN = 0.9  # of the clip norm: a self-test that moves less has tested nothing


@dataclass(frozen=True)
class Movement:
    """How far a patient more moved a sum, in units of the clip norm: `share` is ||f(D + p) - f(D)||, and `others` is
    how far all but p's own part moved, ||f(D + p) - f(D) - f(p)||.
    """

    where: str
    share: float
    others: float = 0.0


def distance(a: Tensors, b: Tensors) -> float:
    """The L2 distance of two sums, all tensors together; `inf` where either holds NaN or infinity.

    Raises `ValueError` for other names or shapes.
    """
    if {name: value.shape for name, value in a.items()} != {name: value.shape for name, value in b.items()}:
        raise ValueError("two sums over the same parameters are needed")
    square = sum(float(np.square(a[name].astype(np.float64) - b[name]).sum()) for name in a)
    return math.sqrt(square) if math.isfinite(square) else math.inf


def sensitivity_findings(movements: Sequence[Movement]) -> list[Finding]:
    """A finding for each movement beyond the clip norm, for each that changed the others' part, and one where none
    came near the clip norm.
    """
    findings = [
        Finding(Check.SENSITIVITY, movement.where, f"moved the sum by {movement.share:.3f} of the clip norm")
        for movement in movements
        if not movement.share <= 1 + ROUNDING
    ]
    findings += [
        Finding(
            Check.INDEPENDENCE,
            movement.where,
            f"changed what the others add by {movement.others:.3f} of the clip norm",
        )
        for movement in movements
        if not movement.others <= OTHERS
    ]
    most = max((movement.share for movement in movements), default=0.0)
    if most < LEAST_SEEN:
        what = (
            f"nobody moved the sum by more than {most:.3f} of the clip norm: the clip was not put to the test"
        )
        findings.append(Finding(Check.SENSITIVITY, "all", what))
    return findings

"""How far an honest hospital can move an expert in one round: a public bound, so that no one can move it
further.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from privacy.plan import Plan

_BETA1, _BETA2 = 0.9, 0.999  # privacy.descent's Adam
_QUANTISATION = 1.05  # a release's int8 rounding may lengthen it a little


def norm_bound(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """The largest L2 norm that a delta with `shapes` may have after the plan's Adam steps.

    By Cauchy-Schwarz one coordinate moves in step t by at most
    `lr * (1-b1)/sqrt((1-b2)(1-b1^2/b2)) * sqrt(1-b2^t)/(1-b1^t)`, whatever the gradients were.
    """
    steady = (1 - _BETA1) / math.sqrt((1 - _BETA2) * (1 - _BETA1**2 / _BETA2))
    steps = range(1, plan.mechanism.steps + 1)
    reach = sum(steady * math.sqrt(1 - _BETA2**t) / (1 - _BETA1**t) for t in steps)
    size = sum(math.prod(shape) for shape in shapes.values())
    return _QUANTISATION * plan.learning_rate * reach * math.sqrt(size)

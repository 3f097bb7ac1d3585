"""How far an honest hospital can move an expert in one round: a public bound, so that no one can move it
further.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from privacy.plan import Plan

_BETA1, _BETA2 = 0.9, 0.999  # privacy.descent's Adam
_ROUNDING = 1.0001  # float32 sums; a release's int8 levels stay within their slice's range


def norm_bound(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """The largest L2 norm that a delta with `shapes` may have after the plan's Adam steps.

    By Cauchy-Schwarz on Adam's two running means, one coordinate moves in step t by at most
    `lr * (1-b1)/(1-b1^t) * sqrt((1-b2^t)/(1-b2) * (1-r^t)/(1-r))` with `r = b1^2/b2`, whatever the gradients
    were; that is `lr` in the first step, where it is attained.  Noise of any size moves no coordinate further,
    so the bound knows nothing of the data, of C or of sigma.
    """
    ratio = _BETA1**2 / _BETA2
    reach = sum(
        (1 - _BETA1)
        / (1 - _BETA1**t)
        * math.sqrt((1 - _BETA2**t) / (1 - _BETA2) * (1 - ratio**t) / (1 - ratio))
        for t in range(1, plan.mechanism.steps + 1)
    )
    size = sum(math.prod(shape) for shape in shapes.values())
    return _ROUNDING * plan.learning_rate * reach * math.sqrt(size)

"""What each hospital counts for in a mean. Weights never depend on private counts.

| weighting        | a hospital's weight             | best linear weights where                                              |
|------------------|---------------------------------|------------------------------------------------------------------------|
| `equal`          | 1                               | hospitals have equal noise and equal signal                            |
| `declared`       | what the campaign says          | the campaign knows better                                              |
| `noise-aware`    | 1 / stated variance             | signals are alike and noise is not: the signal stands out of its noise |
| `noise-matched`  | 1 / stated deviation            | noise is alike and signals are not: Adam on gradients drowned in noise |
| `noise-tempered` | 1 / root of (variance + 128 s^2) | as matched, and as equal where signals stand out                      |

Stated is the noise of one step's mean gradient; what is averaged are changes after Adam, which divides by the root mean
square (`strategies.noise` says what follows). Where noise drowns the signal, hospital i's change is `a_i s + e_i` with
a_i in proportion to 1 / t_i and var(e_i) the same for all: weights in proportion to a_i give the largest ratio of signal to
noise (a matched filter; Cauchy-Schwarz). Where the signal stands out, `noise-matched` leaves a variance of
n / (sum of 1 / t_i)^2, and equal weights leave (sum of t_i^2) / n^2: harmonic against root mean square. So `noise-matched`
is never worse than equal weights in either case, while `noise-aware` is in the first: one large hospital then drowns many
small ones.

Far above the noise Adam takes signs, and noise on signs is dither: of changes with unequal noise the mean with equal weights
points best. `noise-tempered` passes from one to the other by s^2, the mean square of the gradients, which the changes'
lengths tell (`strategies.noise.gradient_power`); where they tell nothing, weights are equal. 128 is the least power of two with
which none of 300 random consortia of `bench.weighting` lost one per cent to equal weights, and none of 300 others did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from strategies.errors import AggregationError
from strategies.gathered import Contribution

EQUAL, DECLARED = "equal", "declared"
NOISE_AWARE, NOISE_MATCHED, NOISE_TEMPERED = "noise-aware", "noise-matched", "noise-tempered"
WEIGHTINGS = (EQUAL, DECLARED, NOISE_AWARE, NOISE_MATCHED, NOISE_TEMPERED)
BY_NOISE = frozenset({NOISE_AWARE, NOISE_MATCHED, NOISE_TEMPERED})
_TEMPER = 128.0  # mean squares of the gradient beside the noise's variance


@dataclass(frozen=True)
class Weighting:
    """One of `WEIGHTINGS`; `declared` has the weight of every hospital that takes part."""

    kind: str = EQUAL
    declared: Mapping[str, float] = field(default_factory=dict)

    def of(self, release: Contribution, gradient_power: float = 0.0) -> float:
        """The release's weight; `gradient_power` is that of `strategies.noise`, for the kind that takes it.

        Raises `AggregationError` where it would not be finite and above 0, or none is declared.
        """
        weight = self._weight(release, gradient_power)
        if not (math.isfinite(weight) and weight > 0):
            raise AggregationError(
                f"weight {weight} for {release.hospital}'s {release.expert}: must be finite and above 0"
            )
        return weight

    def _weight(self, release: Contribution, gradient_power: float) -> float:
        if self.kind == EQUAL:
            return 1.0
        if self.kind == DECLARED:
            return self.declared.get(release.hospital, math.nan)
        if release.noise_variance <= 0:
            return math.inf
        if self.kind == NOISE_AWARE:
            return 1.0 / release.noise_variance
        if self.kind == NOISE_TEMPERED and math.isinf(gradient_power):
            return 1.0
        tempered = _TEMPER * gradient_power if self.kind == NOISE_TEMPERED else 0.0
        return 1.0 / math.sqrt(release.noise_variance + tempered)

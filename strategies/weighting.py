"""What each hospital counts for in a mean. Weights never depend on private counts.

| weighting       | a hospital's weight      | best linear weights where                                                 |
|-----------------|--------------------------|---------------------------------------------------------------------------|
| `equal`         | 1                        | hospitals have equal noise and equal signal                               |
| `declared`      | what the campaign says   | the campaign knows better                                                 |
| `noise-aware`   | 1 / stated variance      | signals are alike and noise is not: the signal stands out of its noise    |
| `noise-matched` | 1 / stated deviation     | noise is alike and signals are not: Adam on gradients drowned in noise    |

Stated is the noise of one step's mean gradient; what is averaged are changes after Adam, which divides by the root mean
square (`strategies.noise` says what follows). Where noise drowns the signal, hospital i's change is `a_i s + e_i` with
a_i in proportion to 1 / t_i and var(e_i) the same for all: weights in proportion to a_i give the largest ratio of signal to
noise (a matched filter; Cauchy-Schwarz). Where the signal stands out, `noise-matched` leaves a variance of
n / (sum of 1 / t_i)^2, and equal weights leave (sum of t_i^2) / n^2: harmonic against root mean square. So `noise-matched`
is never worse than equal weights in either case, while `noise-aware` is in the first: one large hospital then drowns many
small ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from strategies.errors import AggregationError
from strategies.gathered import Contribution

EQUAL, DECLARED, NOISE_AWARE, NOISE_MATCHED = "equal", "declared", "noise-aware", "noise-matched"
WEIGHTINGS = (EQUAL, DECLARED, NOISE_AWARE, NOISE_MATCHED)
BY_NOISE = frozenset({NOISE_AWARE, NOISE_MATCHED})


@dataclass(frozen=True)
class Weighting:
    """One of `WEIGHTINGS`; `declared` has the weight of every hospital that takes part."""

    kind: str = EQUAL
    declared: Mapping[str, float] = field(default_factory=dict)

    def of(self, release: Contribution) -> float:
        """The release's weight. Raises `AggregationError` where it would not be finite and above 0, or none is declared."""
        weight = self._weight(release)
        if not (math.isfinite(weight) and weight > 0):
            raise AggregationError(
                f"weight {weight} for {release.hospital}'s {release.expert}: must be finite and above 0"
            )
        return weight

    def _weight(self, release: Contribution) -> float:
        if self.kind == EQUAL:
            return 1.0
        if self.kind == DECLARED:
            return self.declared.get(release.hospital, math.nan)
        if release.noise_variance <= 0:
            return math.inf
        root = math.sqrt(release.noise_variance) if self.kind == NOISE_MATCHED else release.noise_variance
        return 1.0 / root

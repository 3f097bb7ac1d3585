"""How the hospitals' changes of one expert become one: the mean, and rules that bear hostile hospitals.

A rule first weighs each hospital's change as a whole, then combines the changes value by value. Both are pure.

| rule           | needs       | bears                                                                                     |
|----------------|-------------|-------------------------------------------------------------------------------------------|
| `Mean`         | 1 hospital  | none: the bound on norms is all there is                                                  |
| `NormBound`    | 1           | scaling: nobody counts for more than an honest change that is mostly noise                |
| `Median`       | 1           | fewer than half, value by value                                                           |
| `TrimmedMean`  | 2 f + 1     | f, value by value (Yin et al., arXiv 1803.01498)                                          |
| `MultiKrum`    | 2 f + 3     | f, as wholes (Blanchard et al., NeurIPS 2017)                                             |

With fewer releases than a rule needs, the expert is left as it was. Where hospitals have different ranks, a rule combines
each block of columns over those who train it (`Gathered.columns`), and leaves one that fewer train than it needs.
`MultiKrum` compares changes as wholes, and takes none of a lower rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from strategies.gathered import Change, Gathered, Rows, Values, squared_norms
from strategies.noise import Lengths, gradient_power
from strategies.weighting import NOISE_TEMPERED, Weighting

_TOGETHER = 8  # hospitals


@dataclass(frozen=True)
class Weights:
    """`each` hospital's weight, in the order of the releases, and what each adds to the `divisor` of their weighted sum.

    Weights that sum to less than the divisor shorten the change; a weight of 0 leaves a hospital out.
    """

    each: Values
    counted: Values

    @cached_property
    def divisor(self) -> float:
        """Added in the order of the releases."""
        total: float = sum(self.counted.tolist())
        return total

    @cached_property
    def factors(self) -> list[tuple[int, np.float32]]:
        """Of those that count: which row, and what it is multiplied by; weight over divisor, or 1 where all weights are."""
        by = 1.0 if self.plain else self.divisor
        return [(row, np.float32(weight / by)) for row, weight in enumerate(self.each.tolist()) if weight]

    @cached_property
    def plain(self) -> bool:
        """Whether each counts once or not at all."""
        return all(weight in (0.0, 1.0) for weight in self.each.tolist())

    def of(self, places: Sequence[int]) -> Weights:
        """Those of the releases at these places."""
        if len(places) == len(self.each):
            return self
        return Weights(self.each[list(places)], self.counted[list(places)])

    @cached_property
    def noise_share(self) -> float:
        """The noise variance of the weighted mean, where every change has noise of variance 1."""
        return float(np.square(self.each).sum()) / self.divisor**2


class Rule(Protocol):
    """An aggregation rule."""

    @property
    def least(self) -> int:
        """So many releases it needs."""
        ...

    @property
    def by_columns(self) -> bool:
        """Whether it takes releases of a lower rank."""
        ...

    def weigh(self, gathered: Gathered, lengths: Lengths) -> Weights:
        """Weights of `least` releases or more; `lengths` are those of honest changes of as many values as each release has."""
        ...

    def combine(self, rows: Rows, weights: Weights, out: Change) -> None:
        """Write one change for each value of a block."""
        ...


@dataclass(frozen=True)
class Mean:
    """The weighted mean."""

    weighting: Weighting
    least = 1
    by_columns = True

    def weigh(self, gathered: Gathered, lengths: Lengths) -> Weights:
        """As the weighting says."""
        power = 0.0
        if self.weighting.kind == NOISE_TEMPERED:
            stated = np.array([release.noise_variance for release in gathered.releases])
            power = gradient_power(squared_norms(gathered), stated, lengths)
        each = np.array([self.weighting.of(release, power) for release in gathered.releases])
        return Weights(each, each)

    def combine(self, rows: Rows, weights: Weights, out: Change) -> None:
        """Weighted sum over divisor, added in the order of the hospitals."""
        weighted_mean(rows, weights, out)


@dataclass(frozen=True)
class NormBound:
    """The weighted mean of changes that are each shortened to the norm of noise alone (Sun et al., arXiv 1911.07963).

    An honest change is mostly noise, of a norm that everyone knows beforehand; so this costs honest hospitals little,
    and bounds what a hostile one gains from scale. A change too short to be honest is refused before it comes here
    (`strategies.noise.least_norm`).
    """

    weighting: Weighting
    least = 1
    by_columns = True

    def weigh(self, gathered: Gathered, lengths: Lengths) -> Weights:
        """The weighting's, times how much each change is shortened."""
        weights = Mean(self.weighting).weigh(gathered, lengths)
        norms = np.sqrt(squared_norms(gathered))
        return Weights(weights.each * (lengths.noise / np.maximum(norms, lengths.noise)), weights.counted)

    def combine(self, rows: Rows, weights: Weights, out: Change) -> None:
        """The weighted mean."""
        weighted_mean(rows, weights, out)


@dataclass(frozen=True)
class Median:
    """The median of each value; the mean of the middle two of an even number."""

    least = 1
    by_columns = True

    def weigh(self, gathered: Gathered, lengths: Lengths) -> Weights:
        """Equal."""
        return _equal(gathered)

    def combine(self, rows: Rows, weights: Weights, out: Change) -> None:
        """The middle of each column."""
        stack, count = np.stack(rows), len(rows)
        low, high = (count - 1) // 2, count // 2
        stack.partition(sorted({low, high}), axis=0)
        np.add(stack[low], stack[high], out=out)
        out *= np.float32(0.5)


@dataclass(frozen=True)
class TrimmedMean:
    """The mean of each value without its `hostile` smallest and largest."""

    hostile: int
    by_columns = True

    @property
    def least(self) -> int:
        """One is left."""
        return 2 * self.hostile + 1

    def weigh(self, gathered: Gathered, lengths: Lengths) -> Weights:
        """Equal."""
        return _equal(gathered)

    def combine(self, rows: Rows, weights: Weights, out: Change) -> None:
        """The mean of the middle of each column."""
        stack = np.stack(rows)
        stack.sort(axis=0)
        out[...] = np.mean(stack[self.hostile : len(stack) - self.hostile], axis=0, dtype=np.float64)


@dataclass(frozen=True)
class MultiKrum:
    """The mean of the n - f - 2 changes that lie nearest to their n - f - 2 nearest neighbours, f being `hostile`.

    Among changes that are mostly noise all distances are nearly alike: an attack that hides in the noise is chosen as
    often as an honest change. What is chosen hangs on distances in float64, so that only a tie to some 12 digits could
    fall out otherwise on another machine.
    """

    hostile: int
    by_columns = False

    @property
    def least(self) -> int:
        """As the theorem needs."""
        return 2 * self.hostile + 3

    def weigh(self, gathered: Gathered, lengths: Lengths) -> Weights:
        """1 for the chosen, 0 for the others; of equals the first by name."""
        kept = len(gathered.releases) - self.hostile - 2
        distances = np.sort(squared_distances(gathered), axis=1)[:, 1 : kept + 1]  # without one's own
        chosen = np.argsort(distances.sum(axis=1), kind="stable")[:kept]
        each = np.zeros(len(gathered.releases))
        each[chosen] = 1.0
        return Weights(each, each)

    def combine(self, rows: Rows, weights: Weights, out: Change) -> None:
        """The mean of the chosen."""
        weighted_mean(rows, weights, out)


def weighted_mean(rows: Rows, weights: Weights, out: Change) -> None:
    """Write the weighted sum over the divisor, added in the order of the rows; those of weight 0 are left out.

    In float32 within each `_TOGETHER` hospitals and in float64 between them: off by less than 1e-6 of the mean magnitude,
    however many hospitals there are (at most eleven roundings of 2**-24), and the same on every machine.
    """
    factors, plain = weights.factors, weights.plain
    scaled = np.empty(0 if plain else len(out), np.float32)
    wide = np.zeros(len(out) if len(factors) > _TOGETHER else 0)
    for begin in range(0, len(factors), _TOGETHER):
        together = factors[begin : begin + _TOGETHER]
        if plain:
            _sum([rows[row] for row, _ in together], out)
        else:
            (first, factor), *others = together
            np.multiply(rows[first], factor, out=out)
            for row, factor in others:
                out += np.multiply(rows[row], factor, out=scaled)
        if len(wide):
            wide += out
    if len(wide) or plain:
        last = 1.0 / weights.divisor if plain else 1.0
        np.multiply(wide if len(wide) else out, last, out=out, casting="same_kind")


def _sum(rows: Rows, out: Change) -> None:
    """Write the sum, added in the order of the rows; the first two at once, so that none is copied first."""
    if len(rows) == 1:
        out[...] = rows[0]
        return
    np.add(rows[0], rows[1], out=out)
    for row in rows[2:]:
        out += row


def squared_distances(gathered: Gathered) -> Values:
    """[hospitals, hospitals], in float64, in one pass; 0 on the diagonal."""
    count = len(gathered.releases)
    gram = np.zeros((count, count))
    for rows in gathered.all():
        wide = np.array(rows, np.float64)
        gram += wide @ wide.T
    norms = np.diag(gram)
    distances = np.maximum(norms[:, None] + norms[None, :] - 2.0 * gram, 0.0)
    np.fill_diagonal(distances, 0.0)
    return distances


def _equal(gathered: Gathered) -> Weights:
    count = len(gathered.releases)
    return Weights(np.ones(count), np.ones(count))

"""How far hospitals' changes of one expert agree, with their noise taken off: measured, reported, decides nothing.

Two honest changes share a signal and nothing of their noise. So the inner product of two is that of their signals, and a
change's squared norm is its signal's and its noise's, which is known (`strategies.noise`): a cosine between signals follows,
where the signal stands out of the noise at all. The noise is taken to be that of changes whose signal is drowned; where it is
not, the noise is smaller and the true cosine a little lower than what is told.

Of an expert with more than `MEASURED` values, about as many are measured: one block in so many, all over the expert. That
tells a cosine of the whole to 0.002 where its tensors are alike; where they are not, it is told of those that were measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from strategies.gathered import Rows, Values
from strategies.noise import DeltaNoise

MEASURED = 1 << 18  # values of an expert
_STANDS_OUT = 4.0  # deviations of the noise's power that a signal's must reach to be told
_DIGITS = 4
_PIECE = 1 << 13  # values

Figure = float | None  # None where noise leaves nothing to tell


@dataclass(frozen=True)
class Agreement:
    """Of one hospital: its change's norm over that of noise alone, and its cosine to the mean of the others: as it is, and
    between signals.
    """

    norm: float
    cosine: Figure
    signal_cosine: Figure


@dataclass(frozen=True)
class Drift:
    """By hospital, and the mean cosine between the signals of two hospitals."""

    hospitals: dict[str, Agreement]
    signal_cosine: Figure


@dataclass
class DriftSums:
    """Sums over blocks for `count` hospitals' changes of `size` values, of which `measured` were taken in."""

    count: int
    size: int
    measured: int = field(init=False, default=0)
    squares: Values = field(init=False)  # of each hospital's change
    with_sum: Values = field(init=False)  # inner product of each with the sum of all
    _due: float = field(init=False, default=0.0)  # blocks

    def __post_init__(self) -> None:
        self.squares, self.with_sum = np.zeros(self.count), np.zeros(self.count)

    def add(self, rows: Rows) -> None:
        """Take in a block, if it is its turn. In float32 within it: figures for eyes, which no state hangs on."""
        self._due += min(1.0, MEASURED / self.size)
        if self._due < 1.0:
            return
        self._due -= 1.0
        self.measured += len(rows[0])
        total = np.zeros(len(rows[0]), np.float32)
        for row in rows:
            total += row
        self.squares += [_inner(row, row) for row in rows]
        self.with_sum += [_inner(row, total) for row in rows]


def _inner(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """In pieces for which numpy's dot takes no threads: they spin, and slow whatever else runs."""
    pieces = range(0, len(one), _PIECE)
    return sum(float(np.dot(one[at : at + _PIECE], other[at : at + _PIECE])) for at in pieces)


def drift(hospitals: Sequence[str], sums: DriftSums, noise: DeltaNoise) -> Drift:
    """What the sums over all blocks of the hospitals' changes say."""
    count, size = sums.count, sums.measured
    if count == 0:
        return Drift({}, None)
    power = noise.variance * size
    alone = _STANDS_OUT * power * math.sqrt(max(noise.kurtosis - 1, 0.0) / max(size, 1))
    norm = math.sqrt(power) if power > 0 else math.inf
    if count == 1:
        lonely = Agreement(_rounded(math.sqrt(sums.squares[0]) / norm), None, None)
        return Drift({hospitals[0]: lonely}, None)
    total = float(sums.with_sum.sum())
    with_others = (sums.with_sum - sums.squares) / (count - 1)
    others = np.maximum(total - 2 * sums.with_sum + sums.squares, 0.0) / (count - 1) ** 2
    rest = power / (count - 1)
    rest_alone = _STANDS_OUT * rest * math.sqrt(2.0 / max(size, 1))
    found = {
        name: Agreement(
            _rounded(math.sqrt(square) / norm),
            _cosine(inner, (square, 0.0), (other, 0.0)),
            _cosine(inner, (square - power, alone), (other - rest, rest_alone)),
        )
        for name, inner, square, other in zip(hospitals, with_others, sums.squares, others, strict=True)
    }
    signal = float(sums.squares.mean()) - power, alone / math.sqrt(count)
    return Drift(found, _cosine(float(with_others.mean()), signal, signal))


def _cosine(inner: float, one: tuple[float, float], other: tuple[float, float]) -> Figure:
    """From an inner product and two squared norms, each with what it must be above."""
    if one[0] <= one[1] or other[0] <= other[1]:
        return None
    return _rounded(min(1.0, max(-1.0, inner / math.sqrt(one[0] * other[0]))))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")

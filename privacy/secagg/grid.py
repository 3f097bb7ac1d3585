"""Real vectors as whole numbers and back: what secure aggregation adds up, exactly, modulo 2^32 or 2^64.

A hospital's *sum* of clipped gradients is divided by the grid's step and rounded once, to nearest (a tie goes to the
even number). Nothing is drawn at random, so a patient moves the whole numbers by a bounded amount, always: the move
before rounding is at most C/step, and each of the two roundings is within 1/2 a coordinate, sqrt(d)/2 in all:

    || round(x) - round(y) || <= C/step + sqrt(d)          `Grid.sensitivity`

Then every number is cut to [-bound, bound]. Cutting brings no two vectors further apart, so it costs no privacy,
whoever was drawn; it is what makes overflow impossible to provoke by many patients, without a count that leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MechanismError

Whole = NDArray[np.int64]
Words = NDArray[np.unsignedinteger[Any]]  # uint32 or uint64

WORD_BITS = (32, 64)
WRAPS = 1e-9  # the chance, over all coordinates, that a sum's noise goes past the word
MOST_BOUND = 2**52  # up to here a float64 still holds halves, so that rounding to nearest is exact


@dataclass(frozen=True)
class Grid:
    """The public scale of a round.

    `step` is a power of two, so that dividing by it is exact; `clip_norm` bounds one patient (L2, all coordinates);
    `size` counts the coordinates; `most_patients` is how many patients' worth of gradient one hospital's sum may hold
    in one coordinate before it is cut: a public constant above what is ever expected to be drawn, never a count.

    Raises `MechanismError` for a step that is no power of two, a clip norm that is not finite and above 0, fewer than
    one coordinate or patient, and a grid so fine that numbers pass 2^52.
    """

    step: float
    clip_norm: float
    size: int
    most_patients: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.step) and self.step > 0 and math.frexp(self.step)[0] == 0.5):
            raise MechanismError(f"step must be a power of two, not {self.step}: only then is division exact")
        if not (math.isfinite(self.clip_norm) and self.clip_norm > 0):
            raise MechanismError(f"clip_norm must be finite and above 0, not {self.clip_norm}")
        for name in ("size", "most_patients"):
            if type(getattr(self, name)) is not int or not 1 <= getattr(self, name) <= MOST_BOUND:
                raise MechanismError(f"{name} must be a whole number from 1 on, not {getattr(self, name)!r}")
        if not self.most_patients * self.clip_norm / self.step <= MOST_BOUND:
            raise MechanismError(f"step {self.step:g} is too fine: {self.most_patients} patients pass 2^52")

    @property
    def sensitivity(self) -> float:
        """How far one patient moves the rounded vector (L2, in steps), at most."""
        return self.clip_norm / self.step + math.sqrt(self.size)

    @property
    def bound(self) -> int:
        """The largest number of one hospital before noise, in either direction."""
        return math.ceil(self.most_patients * self.clip_norm / self.step)


def to_whole(total: NDArray[np.float64], grid: Grid) -> Whole:
    """Round a hospital's sum of clipped gradients, [d], to whole steps: |result| <= grid.bound.

    Guarantee: for sums that differ by one patient, the results differ by at most `grid.sensitivity` (L2). The sums
    themselves are float64; clipping leaves a part in 10^9 of C to their rounding (`privacy.clip`).

    | the sum                                   | the result                                   |
    |-------------------------------------------|----------------------------------------------|
    | of an empty draw                          | zeros                                        |
    | half way between two steps                | the even one                                 |
    | beyond the bound, infinite ones too       | the bound                                    |
    | with a NaN                                | `MechanismError`: no clipped sum has one     |
    | of another size, or not float64           | `MechanismError`                             |
    """
    if total.shape != (grid.size,) or total.dtype != np.float64:
        raise MechanismError(f"a float64 sum of {grid.size} is needed, not {total.dtype} {total.shape}")
    if np.isnan(total).any():
        raise MechanismError("a sum of clipped gradients holds NaN: clip each patient first")
    with np.errstate(over="ignore"):  # an infinite quotient is cut like any other
        steps = np.rint(total / grid.step)
    return np.clip(steps, -grid.bound, grid.bound).astype(np.int64)


def to_real(total: Words, grid: Grid) -> NDArray[np.float64]:
    """The centred value of a sum of words, [d], times the step."""
    signed = total.view(np.int32 if total.dtype == np.uint32 else np.int64)
    return signed.astype(np.float64) * grid.step


def to_words(whole: Whole, bits: int) -> Words:
    """Whole numbers modulo 2^bits: sums of words are then the sums of the numbers, modulo 2^bits."""
    return whole.astype(word_type(bits))


def zeros(size: int, bits: int) -> Words:
    """`size` words of zero."""
    return np.zeros(size, word_type(bits))


def word_type(bits: int) -> np.dtype[np.unsignedinteger[Any]]:
    """uint32 or uint64."""
    return np.dtype(f"uint{bits}")


def word_bits(grid: Grid, hospitals: int, share_sigma: int) -> int:
    """The word, 32 or 64 bits, in which the sum of `hospitals` noised vectors wraps with chance under 1e-9.

    The sum before noise lies within hospitals x grid.bound. Each share of the noise is a discrete Gaussian, which is
    sub-Gaussian with variance proxy sigma^2 (Canonne, Kamath, Steinke, arXiv 2004.00010, lemma 29); so the chance that
    any of d coordinates of the sum of n shares passes sigma sqrt(2 n ln(2 d / 1e-9)) is under 1e-9. A wrap would
    cost the round's use, never privacy: it happens after the noise. Raises `MechanismError` where 64 bits are too few.
    """
    tail = share_sigma * math.sqrt(2 * hospitals * math.log(2 * grid.size / WRAPS))
    need = hospitals * grid.bound + math.ceil(tail)
    for bits in WORD_BITS:
        if need < 2 ** (bits - 1):
            return bits
    raise MechanismError(f"sums up to {need:.3g} do not fit 64 bits: take a coarser step than {grid.step:g}")

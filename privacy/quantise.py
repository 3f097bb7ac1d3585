"""float32 -> int8 levels with float32 scales, unbiased: post-processing of what was noised.

A matrix has one scale for each slice along its shorter axis, anything else one scale in all.  Which of its two
neighbouring levels a value goes to is drawn at random, the nearer one more often, so that the mean over
hospitals and rounds is right even where a round's whole change is smaller than one level (stochastic rounding:
Gupta et al., arXiv 1502.02551; QSGD, arXiv 1610.02132).  The draw comes from a public seed: it is independent
of the data, so it neither costs nor protects anything, and anyone can see that it was not chosen.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import SeededRandom

_LEVELS = 127
_DRAWS = 1 << 16  # that a value's rounding is drawn from
_FOLD = 64  # rows of a tall matrix that numpy takes as one, so that its inner loops are long


def quantise(value: NDArray[np.float32], seed: str) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round finite `value` to levels from -127 to 127 times a scale for each slice.

    Guarantee: E[levels * scales] = value over seeds, but for 2**-16 of a scale; |levels * scales - value| < scale; and
    no value leaves its slice's range but by float32's rounding (one part in four million; one level among subnormal
    numbers), so rounding lengthens no bound of the form sqrt(n) max|value|.  `scales` broadcasts against `value`.

    | a slice                    | levels and scale                                           |
    |----------------------------|------------------------------------------------------------|
    | all zero, or empty         | zeros, scale 0                                             |
    | a zero among others        | exactly 0                                                  |
    | the largest of its slice   | 127 almost always: the scale is max/127, rounded up        |
    | of subnormal numbers       | as any other; a scale has at least one digit               |
    """
    shape = scales_shape(value.shape)
    value = np.require(value, np.float32, "C")
    exact, other = np.empty_like(value), np.empty_like(value)
    most = _largest(np.abs(value, out=other), shape)
    # Rounded up, so that value / scale, rounded itself, never passes 127. What is added below is at most 1 - 2**-17, and
    # 128 - 2**-17 is a float32: so the sum stays under 128, 0 stays 0, and no clipping is needed.
    scales = np.where(most > 0, np.nextafter(most / np.float32(_LEVELS), np.float32(np.inf)), np.float32(0))
    _by_slice(np.divide, value, np.where(scales > 0, scales, np.float32(1)), exact)
    other[...] = SeededRandom(seed).shorts(value.size).reshape(value.shape)
    other += np.float32(0.5)  # the middle of each draw's part of [0, 1)
    other *= np.float32(1 / _DRAWS)
    exact += other
    return np.floor(exact, out=exact).astype(np.int8), scales


def dequantise(levels: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """levels * scales, float32; infinite or NaN where hostile scales make it so."""
    values = levels.astype(np.float32, order="C")
    with np.errstate(over="ignore", invalid="ignore"):
        _by_slice(np.multiply, values, scales, values)
    return values


def is_canonical(levels: NDArray[np.int8], scales: NDArray[np.float32]) -> bool:
    """Whether `quantise` could have written these: no scale below zero (nor minus zero), no level of -128, and
    none but 0 where the scale is 0.  Whatever else dequantises to the same values could carry a message in its bits.
    NaN and infinite scales are not judged here.
    """
    if np.signbit(scales).any() or levels.min(initial=0) == -128:
        return False
    unused = scales == 0
    return not (unused.any() and (unused & (levels != 0)).any())


def scales_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, broadcastable against the tensor's, of its scales."""
    if len(shape) != 2:
        return (1,) * len(shape)
    return (shape[0], 1) if shape[0] <= shape[1] else (1, shape[1])


def _largest(size: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The largest magnitude in each slice, in the shape of the scales; 0 in an empty one."""
    if size.size and len(shape) == 2 and shape[0] == 1:
        size = _folded(size).max(axis=0).reshape(-1, size.shape[1])
    together = tuple(axis for axis, count in enumerate(shape) if count == 1)
    return np.asarray(size.max(axis=together, keepdims=True, initial=0.0)).reshape(shape)


def _by_slice(
    operation: np.ufunc, value: NDArray[np.float32], scales: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """An operation of every value and its slice's scale, on contiguous arrays."""
    if value.ndim == 2 and value.size and scales.shape == (1, value.shape[1]):
        columns, value, out = value.shape[1], _folded(value), _folded(out)
        scales = np.broadcast_to(scales, (value.shape[1] // columns, columns)).reshape(-1)
    operation(value, scales, out=out)


def _folded(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """A view of a contiguous matrix: as many rows joined to one as divide both their number and `_FOLD`."""
    rows, columns = value.shape
    fold = math.gcd(rows, _FOLD)
    return value.reshape(rows // fold, fold * columns)

"""float32 -> int8 levels with float32 scales, unbiased: post-processing of what was noised.

A matrix has one scale for each slice along its shorter axis, anything else one scale in all.  Which of its two
neighbouring levels a value goes to is drawn at random, the nearer one more often, so that the mean over
hospitals and rounds is right even where a round's whole change is smaller than one level (stochastic rounding:
Gupta et al., arXiv 1502.02551; QSGD, arXiv 1610.02132).  The draw comes from a public seed: it is independent
of the data, so it neither costs nor protects anything, and anyone can see that it was not chosen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import SeededRandom

_LEVELS = 127


def quantise(value: NDArray[np.float32], seed: str) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round finite `value` to levels from -127 to 127 times a scale for each slice.

    Guarantee: E[levels * scales] = value over seeds; |levels * scales - value| < scale; and no value leaves its
    slice's range but by float32's rounding (one part in four million; one level among subnormal numbers), so
    rounding lengthens no bound of the form sqrt(n) max|value|.  `scales` broadcasts against `value`.

    | a slice                    | levels and scale                                           |
    |----------------------------|------------------------------------------------------------|
    | all zero, or empty         | zeros, scale 0                                             |
    | a zero among others        | exactly 0                                                  |
    | the largest of its slice   | 127 almost always: the scale is max/127, rounded up        |
    | of subnormal numbers       | as any other; a scale has at least one digit               |
    """
    shape = scales_shape(value.shape)
    together = tuple(axis for axis, size in enumerate(shape) if size == 1)
    most = np.abs(value).max(axis=together, keepdims=True, initial=0.0).reshape(shape)
    # In float64 and rounded up, so that value / scale never passes 127 and the rounding needs no clipping.
    scales = np.where(most > 0, np.nextafter((most / _LEVELS).astype(np.float32), np.float32(np.inf)), 0)
    scales = scales.astype(np.float32)
    exact = value.astype(np.float64) / np.where(scales > 0, scales, 1)
    above = SeededRandom(seed).uniform(value.size).reshape(value.shape)
    return np.floor(exact + above).astype(np.int8), scales


def dequantise(levels: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """levels * scales, float32; infinite or NaN where hostile scales make it so."""
    with np.errstate(over="ignore", invalid="ignore"):
        return levels.astype(np.float32) * scales


def is_canonical(levels: NDArray[np.int8], scales: NDArray[np.float32]) -> bool:
    """Whether `quantise` could have written these: no scale below zero (nor minus zero), no level of -128, and
    none but 0 where the scale is 0.  Whatever else dequantises to the same values could carry a message in its bits.
    NaN and infinite scales are not judged here.
    """
    unused = (scales == 0) & (levels != 0)
    return not (np.signbit(scales).any() or (levels == -128).any() or unused.any())


def scales_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, broadcastable against the tensor's, of its scales."""
    if len(shape) != 2:
        return (1,) * len(shape)
    return (shape[0], 1) if shape[0] <= shape[1] else (1, shape[1])

"""Public random weights that every machine must make alike: a pure function of a name.

FFA-LoRA's A is one of them: it is never sent, because whoever holds base, expert, layer and seed can make it.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray


def uniform(name: str, shape: tuple[int, ...], bound: float) -> NDArray[np.float32]:
    """float32 array, uniform in [-bound, bound), fixed by `name` alone on every machine and numpy version."""
    key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u8")
    bits = np.random.Philox(key=key).random_raw(math.prod(shape))
    unit = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return ((2.0 * unit - 1.0) * bound).astype(np.float32).reshape(shape)


def frozen_a(
    base_hash: str, expert: str, layer: str, seed: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """An expert's A [rank, in] in a layer, named as within the language model; it never trains."""
    return uniform(f"{base_hash}/{expert}/{layer}/{seed}", shape, shape[1] ** -0.5)

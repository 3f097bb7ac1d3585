"""Public random weights that every hospital must make alike: a pure function of a name."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor


def uniform(name: str, shape: tuple[int, ...], bound: float) -> Tensor:
    """float32 tensor, uniform in [-bound, bound), fixed by `name` alone on every machine and numpy
    version.
    """
    key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u8")
    bits = np.random.Philox(key=key).random_raw(math.prod(shape))
    unit = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return torch.from_numpy(((2.0 * unit - 1.0) * bound).astype(np.float32).reshape(shape))

"""Tissue as a picture: what a reader of quality takes for sharp, stained and clean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

GLASS, EOSIN, NUCLEUS = (244, 243, 245), (214, 140, 190), (110, 70, 150)
_REACH = 13  # pixels from a nucleus' middle, beyond which none of it lies


def tissue(side: int, sigma: float = 0.0, seed: int = 0) -> NDArray[np.uint8]:
    """Eosin with nuclei of 6 um radius at half a micron a pixel, blurred by `sigma` pixels."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), EOSIN, np.float64)
    for cx, cy in rng.integers(0, side, (side * side // 900, 2)):
        left, top = max(cx - _REACH, 0), max(cy - _REACH, 0)
        around = image[top : cy + _REACH, left : cx + _REACH]
        y, x = np.mgrid[top : top + around.shape[0], left : left + around.shape[1]]
        around[(x - cx) ** 2 + (y - cy) ** 2 < rng.integers(36, 150)] = NUCLEUS
    image += rng.normal(0, 12, (side, side, 1))
    return np.clip(ndimage.gaussian_filter(image, (sigma, sigma, 0)), 0, 255).astype(np.uint8)

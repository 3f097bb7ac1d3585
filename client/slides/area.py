"""Area averaging: the one way in which pixels change scale."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

cv2.setNumThreads(1)  # threads are the caller's to use, and a forked child must not wait for the parent's

_GRAIN = float(1 << 20)  # edges are taken to a millionth of a pixel: floating-point noise moves no weight


def area_average(
    image: NDArray[np.uint8], origin: tuple[float, float], step: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """`image` [H, W, 3] resampled to [*shape, 3]: each output pixel is the mean over the area that it covers, to
    the nearest of 256 levels.

    Output pixel (i, j) covers rows origin[0] + i * step[0] on and columns origin[1] + j * step[1] on, of size
    `step`, in pixels of `image` and fractions of them; all must lie inside. Steps below 1 enlarge. A pixel's value
    depends on the area that it covers and on nothing beside it, so parts of a picture come out as in the whole.
    """
    if origin == (0.0, 0.0) and step[0].is_integer() and step[1].is_integer():
        covered = image[: shape[0] * int(step[0]), : shape[1] * int(step[1])]
        if step == (1.0, 1.0):
            return covered
        return np.asarray(cv2.resize(covered, shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    height, width, channels = image.shape
    down = _weights(height, origin[0], step[0], shape[0])
    across = _weights(width, origin[1], step[1], shape[1])
    flat = down @ image.reshape(height, width * channels).astype(np.float32)
    turned = np.ascontiguousarray(flat.reshape(shape[0], width, channels).swapaxes(0, 1))
    averaged = across @ turned.reshape(width, shape[0] * channels)
    pixels = averaged.reshape(shape[1], shape[0], channels).swapaxes(0, 1)
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _weights(length: int, origin: float, step: float, count: int) -> sparse.csr_matrix:
    """[count, length]: the share of each output pixel that each input pixel covers; rows sum to one."""
    edges = np.rint((origin + step * np.arange(count + 1)) * _GRAIN) / _GRAIN
    starts, ends = edges[:-1, None], edges[1:, None]
    first = np.floor(starts).astype(np.int64)
    pixels = first + np.arange(int(np.ceil(ends - first).max()))
    shares = np.clip(np.minimum(ends, pixels + 1) - np.maximum(starts, pixels), 0, None) / (ends - starts)
    place = np.minimum(pixels, length - 1)  # the last may hold a pixel of no share beyond the image
    rows = np.arange(0, shares.size + 1, shares.shape[1])
    return sparse.csr_matrix((shares.astype(np.float32).ravel(), place.ravel(), rows), shape=(count, length))

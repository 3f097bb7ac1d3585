"""Area averaging: the one way in which pixels change scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def area_average(
    image: NDArray[np.uint8], origin: tuple[float, float], step: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """`image` [H, W, 3] resampled to [*shape, 3]: each output pixel is the mean over the area that it covers.

    Output pixel (i, j) covers rows origin[0] + i * step[0] on and columns origin[1] + j * step[1] on, of size
    `step`, in pixels of `image` and fractions of them; all must lie inside. Steps below 1 enlarge.
    """
    if step == (1.0, 1.0) and image.shape[:2] == shape:
        return image
    height, width, channels = image.shape
    rows = _weights(height, origin[0], step[0], shape[0])
    columns = _weights(width, origin[1], step[1], shape[1])
    flat = rows @ image.reshape(height, width * channels).astype(np.float32)
    averaged = np.tensordot(flat.reshape(shape[0], width, channels), columns, axes=(1, 1)).swapaxes(1, 2)
    return np.clip(averaged + 0.5, 0, 255).astype(np.uint8)


def _weights(length: int, origin: float, step: float, count: int) -> NDArray[np.float32]:
    """[count, length]: the share of each output pixel that each input pixel covers; rows sum to one."""
    starts = origin + step * np.arange(count)[:, None]
    pixels = np.arange(length)[None, :]
    covered = np.clip(np.minimum(starts + step, pixels + 1) - np.maximum(starts, pixels), 0, None)
    weights: NDArray[np.float32] = (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights

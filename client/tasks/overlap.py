"""How well boxes and masks of one image cover each other. Shapes: N predicted, M true."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from client.tasks.sample import FRAME, Box, Polygon

MATCH_IOU = 0.5
MASK_SIDE = 250  # a mask's pixel is 4 x 4 units of the frame


def iou(predicted: Sequence[Box], true: Sequence[Box]) -> NDArray[np.float64]:
    """Intersection over union of every pair, [N, M]."""
    p = np.array([(b.x1, b.y1, b.x2, b.y2) for b in predicted], dtype=np.float64).reshape(-1, 1, 4)
    t = np.array([(b.x1, b.y1, b.x2, b.y2) for b in true], dtype=np.float64).reshape(1, -1, 4)
    sides = np.minimum(p[..., 2:], t[..., 2:]) - np.maximum(p[..., :2], t[..., :2])
    shared = np.clip(sides, 0, None).prod(axis=-1)
    union = (p[..., 2:] - p[..., :2]).prod(axis=-1) + (t[..., 2:] - t[..., :2]).prod(axis=-1) - shared
    return shared / union


def matched_share(predicted: Sequence[Box], true: Sequence[Box]) -> float:
    """The detection reward: sum of IoU over the best one-to-one pairs with IoU >= 0.5, over max(N, M).

    In [0, 1]; 1 if both are empty. A further box that reaches IoU 0.5 with no true box never raises it; nor
    does a box given twice.
    """
    if not predicted and not true:
        return 1.0
    overlaps = iou(predicted, true)
    worth = np.where(overlaps >= MATCH_IOU, overlaps, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return float(worth[rows, columns].sum() / max(len(predicted), len(true)))


def mask(outlines: Iterable[Polygon | Box]) -> NDArray[np.bool_]:
    """The union of the outlines' insides, [MASK_SIDE, MASK_SIDE]: a pixel is in if its centre is (even-odd
    rule). An outline about no pixel's centre has the pixel at its middle: small as it is, it is there.
    """
    union = np.zeros((MASK_SIDE, MASK_SIDE), dtype=np.bool_)
    for outline in outlines:
        inside = _inside(outline.points)
        if not inside.any():
            xs, ys = zip(*outline.points, strict=True)
            column, row = ((min(ends) + max(ends)) * MASK_SIDE // (2 * FRAME) for ends in (xs, ys))
            inside[min(row, MASK_SIDE - 1), min(column, MASK_SIDE - 1)] = True
        union |= inside
    return union


def dice(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Dice of two masks of one shape, in [0, 1]; 0 where either is empty."""
    shared = np.count_nonzero(predicted & true)
    return 2 * shared / (np.count_nonzero(predicted) + np.count_nonzero(true)) if shared else 0.0


def _inside(points: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Each edge flips, in the pixel rows that it crosses, all pixels to its right; an odd number of flips is
    inside."""
    pixel = FRAME / MASK_SIDE
    centres = (np.arange(MASK_SIDE) + 0.5) * pixel
    flips = np.zeros((MASK_SIDE, MASK_SIDE + 1), dtype=np.int64)
    for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]], strict=True):
        rows = np.flatnonzero((y1 <= centres) != (y2 <= centres))
        if rows.size:
            crossing = x1 + (centres[rows] - y1) * (x2 - x1) / (y2 - y1)
            flips[rows, np.ceil(crossing / pixel - 0.5).astype(np.int64)] += 1
    return flips[:, :-1].cumsum(axis=1) % 2 == 1

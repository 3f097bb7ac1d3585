"""Figures for reports. None of these is a reward: exact boxes followed by fifty false ones still have AP50 =
1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client.tasks.overlap import MATCH_IOU, iou
from client.tasks.sample import Box


def average_precision_50(predicted: Sequence[Box], true: Sequence[Box]) -> float:
    """Average precision of one image at IoU >= 0.5, in [0, 1].

    The order of the answer is the rank. In that order each box takes the free true box that it overlaps most,
    and is a hit from IoU 0.5 on. The result is the area under the monotone envelope of precision over recall.
    Without true boxes it is 1 for no prediction and 0 for any.
    """
    if not true:
        return float(not predicted)
    overlaps = iou(predicted, true)
    hits = np.zeros(len(predicted))
    for rank, row in enumerate(overlaps):
        best = int(row.argmax())
        if row[best] >= MATCH_IOU:
            hits[rank] = 1
            overlaps[:, best] = 0
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * hits).sum() / len(true))

"""Where on a slide tissue lies, told from glass by colour: stain has it, glass has not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MASK_MPP = 8.0  # the scale at which tissue is looked for
_LEAST, _MOST = (
    10,
    24,
)  # bounds on the chroma that counts as stain: fainter is noise, stronger is surely stain
_INK = 40  # pixels darker than this in every channel are marks and shadows


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """True where `thumbnail` (RGB [H, W, 3], about MASK_MPP) shows stained tissue; [H, W].

    Chroma (greatest less least channel) above Otsu's threshold, which is held within fixed bounds so that
    neither a blank slide nor one full of tissue is cut in two. Holes are closed and specks dropped; no
    randomness.
    """
    brightest = thumbnail.max(axis=2)
    chroma = brightest - thumbnail.min(axis=2)
    stained = (chroma >= np.clip(_otsu(chroma), _LEAST, _MOST)) & (brightest > _INK)
    around = np.ones((3, 3), dtype=np.bool_)
    closed = ndimage.binary_closing(np.pad(stained, 3), around, iterations=2)[3:-3, 3:-3]
    opened: NDArray[np.bool_] = ndimage.binary_opening(closed | stained, around)
    return opened


def _otsu(values: NDArray[np.uint8]) -> int:
    """The threshold that parts `values` into two groups with the greatest variance between them."""
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * np.arange(256)).cumsum()
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nan_to_num(between).argmax()) + 1

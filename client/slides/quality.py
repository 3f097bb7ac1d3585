"""How good a slide is to look at: how much tissue it shows, how much of it is under ink, how blurred it is.

Measures, not verdicts: a slide is never left out for one. `flags` says which of them a person should see to.

- tissue: the area that the tissue mask finds, in mm2, and its share of the slide.
- ink: the share of tissue and ink together that is ink (client/slides/tissue.py). Stains that are blue or green themselves
  (trichrome, Alcian blue), and pools of blood, read as ink.
- blur: Crete's blur effect (Crete et al., Proc. SPIE 6492, 64920I, 2007), the share of an image's sharp edges that a
  further blur leaves as they are; 0 is sharp, 1 is blurred. A ratio, so that it does not hang on how strong the stain
  is, as the variance of the Laplacian does. The median over fields of tissue, at BLUR_MPP: sharp slides lie near 0.3,
  a Gaussian blur of 1.5 um puts them above 0.7 (tests/unit/slides/test_slide_quality.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.errors import SlideError
from client.slides.read_ahead import picture_or_error
from client.slides.slide import SlideReader
from client.slides.tissue_map import TissueMap, tissue_map

BLUR_MPP = 0.5  # blur is measured at this scale; of a slide that is coarser by a quarter or more it is not
FIELD = 256  # pixels of a field's side
FIELDS = 24  # at most
_WINDOW = 9  # pixels of the further blur
_COARSER = 1.25

BLURRED, INKED = 0.6, 0.05  # above: flagged
LEAST_TISSUE_MM2, LEAST_TISSUE_SHARE = 0.05, 0.1  # below both: blank


@dataclass(frozen=True)
class Quality:
    """What was measured, at `mpp` microns per level-0 pixel. `blur` is None where no field could be judged."""

    mpp: float
    tissue_mm2: float
    tissue_share: float
    ink: float
    blur: float | None

    @property
    def flags(self) -> tuple[str, ...]:
        """What a person should look at: "blank", "ink", "out-of-focus"."""
        blank = self.tissue_mm2 < LEAST_TISSUE_MM2 and self.tissue_share < LEAST_TISSUE_SHARE
        found = (
            ("blank", blank),
            ("ink", self.ink > INKED),
            ("out-of-focus", self.blur is not None and self.blur > BLURRED),
        )
        return tuple(name for name, holds in found if holds)


def measure(reader: SlideReader) -> Quality:
    """Look at the whole slide once, as for its tiles, and at a few fields. Raises SlideError as `tissue_map` does."""
    slide, seen = reader.slide, tissue_map(reader)
    tissue, ink = int(seen.overview.tissue.sum()), int(seen.overview.ink.sum())
    share = tissue / seen.overview.tissue.size
    return Quality(
        mpp=slide.mpp,
        tissue_mm2=share * slide.width * slide.height * slide.mpp**2 / 1e6,
        tissue_share=share,
        ink=ink / max(1, ink + tissue),
        blur=_blur(reader, seen),
    )


def blur_effect(image: NDArray[np.uint8]) -> float:
    """Crete's blur effect of an RGB image [H, W, 3]; the greater one of both directions. 1 for an even image."""
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    kept = []
    for axis in (0, 1):
        smooth = ndimage.uniform_filter1d(grey, _WINDOW, axis=axis)
        edges = np.abs(np.diff(grey, axis=axis))
        lost = np.maximum(0, edges - np.abs(np.diff(smooth, axis=axis))).sum()
        kept.append(1 - float(lost / edges.sum()) if edges.any() else 1.0)
    return max(kept)


def _blur(reader: SlideReader, seen: TissueMap) -> float | None:
    """The median of fields that lie in tissue for more than half, evenly spread over them in reading order.

    A field that can't be read is not judged.
    """
    slide = reader.slide
    if slide.mpp > BLUR_MPP * _COARSER:
        return None
    side = round(FIELD * BLUR_MPP / slide.mpp)
    tops, lefts = (np.arange(0, length - side + 1, side) for length in (slide.height, slide.width))
    places = np.argwhere(seen.shares(tops, lefts, side) > 0.5)
    if len(places) > FIELDS:
        places = places[np.arange(FIELDS) * len(places) // FIELDS]
    fields = (
        picture_or_error(reader, int(lefts[column]), int(tops[row]), side, side, max(BLUR_MPP, slide.mpp))
        for row, column in places
    )
    found = [blur_effect(field) for field in fields if not isinstance(field, SlideError)]
    return float(np.median(found)) if found else None

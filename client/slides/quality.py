"""How good a slide is to look at: how much tissue it shows, how much of it is under ink, how blurred it is.

Measures, not verdicts: a slide is never left out for one. `flags` says which of them a person should see to.

- tissue: the area that the tissue mask finds, in mm2, and its share of the slide.
- ink: the share of tissue and ink together that has a colour of felt pens, which haematoxylin and eosin don't give
  (thresholds on hue, saturation and brightness, as HistoQC does: Janowczyk et al., JCO Clin Cancer Inform 3, 2019).
  Stains that are blue or green themselves (trichrome, Alcian blue) read as ink.
- blur: Crete's blur effect (Crete et al., Proc. SPIE 6492, 64920I, 2007), the share of an image's sharp edges that a
  further blur leaves as they are; 0 is sharp, 1 is blurred. A ratio, so that it does not hang on how strong the stain
  is, as the variance of the Laplacian does. The median over fields of tissue, at BLUR_MPP: sharp slides lie near 0.3,
  a Gaussian blur of 1.5 um puts them above 0.7 (tests/unit/slides/test_slide_quality.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.slides.slide import Slide, SlideReader
from client.slides.tissue import MASK_MPP, tissue_mask

BLUR_MPP = 0.5  # blur is measured at this scale; of a slide that is coarser by a quarter or more it is not
FIELD = 256  # pixels of a field's side
FIELDS = 24  # at most
_WINDOW = 9  # pixels of the further blur
_COARSER = 1.25
_MOST = (
    1 << 25
)  # pixels of an overview: what claims a larger area than any glass has must not fill the memory

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
    """Look at the whole slide once at MASK_MPP, and at a few fields. Raises SlideError as `SlideReader.read` does."""
    slide = reader.slide
    overview = reader.read(0, 0, slide.width, slide.height, overview_mpp(slide))
    ink = ink_mask(overview)
    tissue = tissue_mask(overview) & ~ink
    share = float(tissue.mean())
    area = share * slide.width * slide.height * slide.mpp**2 / 1e6
    marked = int(ink.sum())
    return Quality(
        mpp=slide.mpp,
        tissue_mm2=area,
        tissue_share=share,
        ink=marked / max(1, marked + int(tissue.sum())),
        blur=_blur(reader, tissue),
    )


def overview_mpp(slide: Slide) -> float:
    """The scale at which a whole slide is looked at: MASK_MPP, or as coarse as the slide is, or as its size makes it."""
    return max(MASK_MPP, slide.mpp, slide.mpp * math.sqrt(slide.width * slide.height / _MOST))


def ink_mask(overview: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """True where `overview` (RGB [H, W, 3], about MASK_MPP) has the colour of a felt pen; [H, W]. Specks don't count."""
    pixels = overview.astype(np.float32)
    value = pixels.max(axis=2)
    chroma = value - pixels.min(axis=2)
    saturation = chroma / np.maximum(value, 1)
    hue = _hue(pixels, value, chroma)
    green = (hue >= 70) & (hue < 190) & (saturation > 0.25) & (chroma > 30)
    blue = (hue >= 190) & (hue < 240) & (saturation > 0.45)
    red = ((hue >= 350) | (hue < 15)) & (saturation > 0.72)
    black = (value < 80) & (chroma < 25)
    marked = green | blue | red | black
    return np.asarray(ndimage.binary_opening(marked, np.ones((3, 3), dtype=np.bool_)))


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


def _blur(reader: SlideReader, tissue: NDArray[np.bool_]) -> float | None:
    """The median of fields that lie in tissue for more than half, evenly spread over them in reading order."""
    slide = reader.slide
    if slide.mpp > BLUR_MPP * _COARSER:
        return None
    side = round(FIELD * BLUR_MPP / slide.mpp)
    down, across = tissue.shape[0] / slide.height, tissue.shape[1] / slide.width
    places = [
        (x, y)
        for y in range(0, slide.height - side + 1, side)
        for x in range(0, slide.width - side + 1, side)
        if _share(tissue, (y * down, (y + side) * down), (x * across, (x + side) * across)) > 0.5
    ]
    chosen = [places[i * len(places) // FIELDS] for i in range(FIELDS)] if len(places) > FIELDS else places
    found = [blur_effect(reader.read(x, y, side, side, max(BLUR_MPP, slide.mpp))) for x, y in chosen]
    return float(np.median(found)) if found else None


def _share(mask: NDArray[np.bool_], rows: tuple[float, float], columns: tuple[float, float]) -> float:
    part = mask[int(rows[0]) : int(np.ceil(rows[1])), int(columns[0]) : int(np.ceil(columns[1]))]
    return float(part.mean()) if part.size else 0.0


def _hue(
    pixels: NDArray[np.float32], value: NDArray[np.float32], chroma: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Hue in degrees, 0 to 360; of a grey pixel 0."""
    red, green, blue = (pixels[..., k] for k in range(3))
    safe = np.maximum(chroma, 1e-6)
    hue = np.where(
        value == red,
        (green - blue) / safe % 6,
        np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    return np.asarray(hue * 60, dtype=np.float32)

"""Open a whole-slide image and read its pixels at a physical scale.

A slide file holds more than tissue: label and macro photographs, scanner and user numbers, dates, file names.
Nothing of it is kept or passed on: a `Slide` has a name, a scale and sizes, and the reader gives pixels of
the pyramid only.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from client.errors import (
    EmptySlideError,
    MissingMppError,
    SlideError,
    TruncatedSlideError,
    UnreadableSlideError,
)
from client.slides.area import area_average
from client.slides.tiff import ends_early

IMAGES = frozenset({".jpeg", ".jpg", ".png"})

_BLOCK = 2048  # pixels of a level decoded at once, along each side: bounds the memory that any read takes
_SAME_SCALE = 1.01  # a level this close above the asked scale serves it
_SQUARE = 1.05  # pixels whose sides differ by more have no one scale


@dataclass(frozen=True)
class Slide:
    """What is kept of an opened slide: level-0 size in pixels, microns per level-0 pixel, each level's
    downsample."""

    name: str
    path: Path
    mpp: float
    width: int
    height: int
    downsamples: tuple[float, ...]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mpp) and self.mpp > 0 and self.width > 0 and self.height > 0):
            raise ValueError(f"slide {self.name}: size and mpp must be positive")
        if not self.downsamples or list(self.downsamples) != sorted(self.downsamples):
            raise ValueError(f"slide {self.name}: downsamples must rise from level 0 on")


class SlideReader(AbstractContextManager["SlideReader"]):
    """An open slide. Close it, or use it in a `with` block; reads may come from several threads."""

    def __init__(self, slide: Slide, handle: openslide.AbstractSlide) -> None:
        self.slide = slide
        self._handle = handle

    def read(self, x: int, y: int, width: int, height: int, mpp: float) -> NDArray[np.uint8]:
        """The level-0 rectangle at `mpp`, RGB [round(height * slide.mpp / mpp), round(width * ...), 3], at
        least 1 x 1.

        Each pixel is the mean over the area that it covers. Outside the slide, and where it has no data, it
        is white. Raises TruncatedSlideError or UnreadableSlideError if the data there can't be decoded.
        """
        if width < 1 or height < 1 or not mpp > 0:
            raise ValueError(f"a read needs a positive width, height and mpp, not {width}, {height}, {mpp}")
        scale = mpp / self.slide.mpp
        rows, columns = max(1, round(height / scale)), max(1, round(width / scale))
        step_y, step_x = height / rows, width / columns  # level-0 pixels an output pixel covers
        level = self._level_for(min(step_x, step_y))
        block = max(1, int(_BLOCK * self.slide.downsamples[level] / max(step_x, step_y)))
        out = np.empty((rows, columns, 3), dtype=np.uint8)
        for top in range(0, rows, block):
            for left in range(0, columns, block):
                part = out[top : top + block, left : left + block]
                part[:] = self._average(
                    level, x + left * step_x, y + top * step_y, step_x, step_y, part.shape[:2]
                )
        return out

    def probe(self) -> None:
        """Read a few pixels at the corners of every level, so that a damaged slide shows now and not in a
        round."""
        for level, downsample in enumerate(self.slide.downsamples):
            for x in (0, self.slide.width - 8 * downsample):
                for y in (0, self.slide.height - 8 * downsample):
                    self._decode(level, max(0, int(x)), max(0, int(y)), 8, 8)

    def close(self) -> None:
        """Give the file back."""
        self._handle.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _level_for(self, downsample: float) -> int:
        """The coarsest level that is still at least as fine as asked."""
        levels = range(len(self.slide.downsamples))
        return max((k for k in levels if self.slide.downsamples[k] <= downsample * _SAME_SCALE), default=0)

    def _average(
        self, level: int, x: float, y: float, step_x: float, step_y: float, shape: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """`shape` output pixels from level-0 point (x, y) on, each covering step_x * step_y level-0
        pixels."""
        downsample = self.slide.downsamples[level]
        left, top = math.floor(x / downsample), math.floor(y / downsample)
        right = math.ceil((x + shape[1] * step_x) / downsample)
        bottom = math.ceil((y + shape[0] * step_y) / downsample)
        source = self._decode(
            level, round(left * downsample), round(top * downsample), right - left, bottom - top
        )
        return area_average(
            source,
            origin=(y / downsample - top, x / downsample - left),
            step=(step_y / downsample, step_x / downsample),
            shape=shape,
        )

    def _decode(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """RGB [height, width, 3] of one level from level-0 point (x, y) on, laid over white."""
        try:
            rgba = np.asarray(self._handle.read_region((x, y), level, (width, height)))
        except (openslide.OpenSlideError, OSError):
            raise _damage(self.slide.path) from None
        rgb, alpha = rgba[..., :3], rgba[..., 3:]
        if (alpha == 255).all():
            return rgb
        return (rgb * (alpha / 255) + (255 - alpha) + 0.5).astype(np.uint8)


def open_slide(path: Path, mpp: float | None = None) -> SlideReader:
    """Open a slide that can serve; `mpp` is what someone who knows says of its pixels, whatever the file states.

    A plain image (PNG, JPEG) is a slide of one level that states no pixel size itself. Raises EmptySlideError,
    UnreadableSlideError, TruncatedSlideError or MissingMppError; their messages name the file and nothing of its
    content.
    """
    try:
        if path.stat().st_size == 0:
            raise EmptySlideError(path.name)
        plain = path.suffix.lower() in IMAGES
        handle = openslide.ImageSlide(path) if plain else openslide.OpenSlide(path)
    except (OSError, openslide.OpenSlideError, Image.DecompressionBombError):
        raise _damage(path) from None
    try:
        # Hamamatsu's files stretch TIFF beyond 4 GiB in a way of their own; for them the probe has to do.
        if handle.properties.get(openslide.PROPERTY_NAME_VENDOR) != "hamamatsu" and ends_early(path):
            raise TruncatedSlideError(path.name)
        return SlideReader(_describe(path, handle, mpp), handle)
    except SlideError:
        handle.close()
        raise


def _describe(path: Path, handle: openslide.AbstractSlide, mpp: float | None) -> Slide:
    width, height = handle.dimensions
    return Slide(
        name=path.name,
        path=path,
        mpp=_mpp(path, handle) if mpp is None else mpp,
        width=width,
        height=height,
        downsamples=tuple(float(downsample) for downsample in handle.level_downsamples),
    )


def _mpp(path: Path, handle: openslide.AbstractSlide) -> float:
    """Microns per level-0 pixel: the geometric mean of both directions."""
    try:
        across = float(handle.properties[openslide.PROPERTY_NAME_MPP_X])
        down = float(handle.properties[openslide.PROPERTY_NAME_MPP_Y])
    except (KeyError, ValueError):
        raise MissingMppError(path.name) from None
    if not (0 < across < math.inf and 0 < down < math.inf and 1 / _SQUARE <= across / down <= _SQUARE):
        raise MissingMppError(path.name)
    return math.sqrt(across * down)


def _damage(path: Path) -> SlideError:
    """Why a file that OpenSlide refuses can't be read."""
    try:
        return TruncatedSlideError(path.name) if ends_early(path) else UnreadableSlideError(path.name)
    except OSError:
        return UnreadableSlideError(path.name)

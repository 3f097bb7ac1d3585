"""Open a whole-slide image and read its pixels at a physical scale.

A slide file holds more than tissue: label and macro photographs, scanner and user numbers, dates, file names.
Nothing of it is kept or passed on: a `Slide` has a name, a scale and sizes, and the reader gives pixels of
the pyramid only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
import openslide
from numpy.typing import NDArray

from client.errors import (
    ChangedSlideError,
    DamagedRegionError,
    EmptySlideError,
    NoLevelsError,
    SlideError,
    TruncatedSlideError,
    UnreadableSlideError,
)
from client.slides.area import area_average
from client.slides.description import Slide, describe
from client.slides.dicom import dicom_error
from client.slides.file_state import FileState, unchanged
from client.slides.openslide_pixels import FAILURES, IMAGES, OpenSlidePixels
from client.slides.pixels import Pixels
from client.slides.same_picture import same_aspect, same_picture
from client.slides.same_pixels import same_pixels
from client.slides.tiff import ends_early
from client.slides.tile_cache import SHARED, TileCache
from client.slides.tile_index import photographs, tiled_levels
from client.slides.tiled_pixels import TiledPixels

__all__ = ["IMAGES", "Opened", "Slide", "SlideReader", "open_slide"]

_BLOCK = 2048  # pixels of a level decoded at once, along each side: bounds the memory that any read takes
_SAME_SCALE = 1.01  # a level this close above the asked scale serves it
_CHECKED_BYTES = 16 << 20  # of tiles that the check at opening looks at more than once
_INDEXED = frozenset(
    {"aperio", "generic-tiff"}
)  # OpenSlide's formats whose levels are plain grids of TIFF tiles
_BY_FORM = _INDEXED | {"philips", "trestle"}  # and those that don't say which of their pages are levels


@dataclass(frozen=True)
class Opened:
    """What an opening found: by it the same file is opened again without being looked through again, or is seen
    to be another. `sizes` are the levels' (width, height) in pixels, `way` the way by which they are read."""

    slide: Slide
    state: FileState
    sizes: tuple[tuple[int, int], ...]
    way: str


class SlideReader(AbstractContextManager["SlideReader"]):
    """An open slide. Close it, or use it in a `with` block.

    Reads may come from several threads, and they scale: decoding holds no lock. A forked child reads on; a reader that
    is pickled is opened again where it arrives, and refused there if the file is not the same any more.

    A read of a file on a network that has gone away waits as long as the system does; it holds up nobody but those who
    read this slide.
    """

    def __init__(self, opened: Opened, pixels: Pixels) -> None:
        self.slide = opened.slide
        self.opened = opened
        self._pixels = pixels

    @property
    def way(self) -> str:
        """How the pixels come: "tiles" straight from the file, or through "openslide". They are the same."""
        return self._pixels.way

    def read(self, x: int, y: int, width: int, height: int, mpp: float) -> NDArray[np.uint8]:
        """The level-0 rectangle at `mpp`, RGB [round(height * slide.mpp / mpp), round(width * ...), 3], at
        least 1 x 1.

        Each pixel is the mean over the area that it covers, so a part of a picture is read as it is in the whole wherever
        the output's pixels lie the same (coarse levels that OpenSlide draws between pixels excepted:
        `OpenSlidePixels`). Outside the slide, and where it has no data, it is white. Beside the output no
        read takes more than some tens of megabytes.

        Raises DamagedRegionError if the data there can't be decoded (other regions can be read after that),
        ChangedSlideError if the file is not the one that was opened, UnreadableSlideError if the system refuses it.
        """
        if width < 1 or height < 1 or not mpp > 0:
            raise ValueError(f"a read needs a positive width, height and mpp, not {width}, {height}, {mpp}")
        scale = mpp / self.slide.mpp
        rows, columns = max(1, round(height / scale)), max(1, round(width / scale))
        step_y, step_x = height / rows, width / columns  # level-0 pixels an output pixel covers
        level = self._level_for(min(step_x, step_y))
        block = max(1, int(_BLOCK * self.slide.downsamples[level] / max(step_x, step_y)))
        with self._one_file():
            if rows <= block and columns <= block:
                return self._average(level, x, y, step_x, step_y, (rows, columns))
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
        with self._one_file():
            for level, (width, height) in enumerate(self.opened.sizes):
                for x in (0, max(0, width - 8)):
                    for y in (0, max(0, height - 8)):
                        self._level_pixels(level, x, y, 8, 8)

    def close(self) -> None:
        """Give the file back, once the reads under way have ended. A later read raises ValueError."""
        self._pixels.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return open_again, (self.opened,)

    @contextmanager
    def _one_file(self) -> Iterator[None]:
        """What is read in here is the opened file's, to the last byte; else ChangedSlideError."""
        try:
            yield
        finally:
            unchanged(self.slide.path, self.opened.state)  # also the reason for an error, if it was changed

    def _level_for(self, downsample: float) -> int:
        """The coarsest level that is still at least as fine as asked."""
        levels = range(len(self.slide.downsamples))
        return max((k for k in levels if self.slide.downsamples[k] <= downsample * _SAME_SCALE), default=0)

    def _level_pixels(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """As `Pixels.read`. What the fast way can't decode, OpenSlide is asked for: it shows some tiles that are not
        quite whole, and what it shows is what we show."""
        try:
            return self._pixels.read(level, x, y, width, height)
        except DamagedRegionError:
            if self.way == OpenSlidePixels.way:
                raise
        with closing(_opened_by_openslide(self.slide.path, DamagedRegionError)) as general:
            return general.read(level, x, y, width, height)

    def _average(
        self, level: int, x: float, y: float, step_x: float, step_y: float, shape: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """`shape` output pixels from level-0 point (x, y) on, each covering step_x * step_y level-0
        pixels."""
        downsample = self.slide.downsamples[level]
        left, top = math.floor(x / downsample), math.floor(y / downsample)
        right = math.ceil((x + shape[1] * step_x) / downsample)
        bottom = math.ceil((y + shape[0] * step_y) / downsample)
        return area_average(
            self._level_pixels(level, left, top, right - left, bottom - top),
            origin=(y / downsample - top, x / downsample - left),
            step=(step_y / downsample, step_x / downsample),
            shape=shape,
        )


def open_slide(path: Path, mpp: float | None = None, cache: TileCache = SHARED) -> SlideReader:
    """Open a slide that can serve; `mpp` is what someone who knows says of its pixels, whatever the file states.

    A plain image (PNG, JPEG) is a slide of one level that states no pixel size itself; a DICOM slide is opened by any
    file of its series, the others beside it. Tiles that this reader decodes itself are kept in `cache`.

    Raises EmptySlideError, UnreadableSlideError, TruncatedSlideError, NoLevelsError, MissingMppError, AbsurdMppError,
    HugeTileError, OtherDicomError, UnsupportedDicomError, or ChangedSlideError if the file changes meanwhile; their
    messages name the file and nothing of its content.
    """
    try:
        state = FileState.of(path.stat())
        if state.size == 0:
            raise EmptySlideError(path.name)
        general = OpenSlidePixels(path)
    except FAILURES:
        raise _damage(path) from None
    try:
        vendor = general.handle.properties.get(openslide.PROPERTY_NAME_VENDOR)
        # Hamamatsu's files stretch TIFF beyond 4 GiB in a way of their own; for them the probe has to do.
        if vendor != "hamamatsu" and ends_early(path):
            raise TruncatedSlideError(path.name)
        slide, sizes = describe(path, general.handle, mpp), general.handle.level_dimensions
        if vendor in _BY_FORM:
            kept = _levels_of_one_picture(vendor, slide, sizes, general)
            slide, sizes = replace(slide, downsamples=slide.downsamples[:kept]), sizes[:kept]
        fast = _fast_way(path, state, vendor, sizes, general, cache) if vendor in _INDEXED else None
        unchanged(path, state)
    except FAILURES:
        general.close()
        raise _damage(path) from None
    except SlideError:
        general.close()
        raise
    if fast is None:
        return SlideReader(Opened(slide, state, sizes, general.way), general)
    general.close()
    return SlideReader(Opened(slide, state, sizes, fast.way), fast)


def open_again(opened: Opened, cache: TileCache = SHARED) -> SlideReader:
    """Open the file that was opened before, by what was found then. Raises ChangedSlideError if it is not the
    same any more, UnreadableSlideError if it can't be read."""
    path = opened.slide.path
    unchanged(path, opened.state)
    if opened.way == TiledPixels.way:
        levels = tiled_levels(path, opened.sizes)
        if levels is None:
            raise ChangedSlideError(path.name)
        return SlideReader(opened, TiledPixels(path, opened.state, levels, cache))
    return SlideReader(opened, _opened_by_openslide(path, UnreadableSlideError))


def _opened_by_openslide(path: Path, error: type[SlideError]) -> OpenSlidePixels:
    """Raises `error` if it can't be opened any more."""
    try:
        return OpenSlidePixels(path)
    except FAILURES:
        raise error(path.name) from None


def _levels_of_one_picture(
    vendor: str, slide: Slide, sizes: Sequence[tuple[int, int]], general: OpenSlidePixels
) -> int:
    """How many levels, from the finest on, are one picture: none is read from the first that is not.

    A coarser one beyond that could show it: where Aperio's levels lack tiles, OpenSlide draws what lies in the level
    before. Raises NoLevelsError if the finest says that it is a label.
    """
    told = photographs(slide.path, sizes)
    if 0 in told:
        raise NoLevelsError(slide.name)
    for level in range(1, len(sizes)):
        # Philips' levels are padded to whole tiles
        shaped = vendor == "philips" or same_aspect(sizes[0], sizes[level])
        if level in told or not shaped or not same_picture(general, level, sizes, slide.downsamples):
            return level
    return len(sizes)


def _fast_way(
    path: Path,
    state: FileState,
    vendor: str,
    sizes: Sequence[tuple[int, int]],
    general: OpenSlidePixels,
    cache: TileCache,
) -> TiledPixels | None:
    """The levels of these sizes by the file's own index of tiles, if that gives the same pixels; else None."""
    levels = tiled_levels(path, sizes)
    if levels is None:
        return None
    # Where a coarse level of Aperio's lacks tiles, or a finer one does, OpenSlide draws the finer level in their place.
    if vendor == "aperio" and len(levels) > 1 and any((level.counts == 0).any() for level in levels):
        return None
    tried = TiledPixels(path, state, levels, TileCache(_CHECKED_BYTES))
    same = same_pixels(tried, general, levels)
    tried.close()
    return TiledPixels(path, state, levels, cache) if same else None


def _damage(path: Path) -> SlideError:
    """Why a file that OpenSlide refuses can't be read."""
    try:
        if ends_early(path):
            return TruncatedSlideError(path.name)
        return dicom_error(path) or UnreadableSlideError(path.name)
    except OSError:
        return UnreadableSlideError(path.name)

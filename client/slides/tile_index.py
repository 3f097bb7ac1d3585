"""Where the tiles of a tiled TIFF lie and how they are coded: all that the fast way needs of a file's directories."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from client.slides.tile_codecs import Decode, jpeg2000_decoder, jpeg_decoder

# What the library has to say of a file may quote it, and a slide's descriptions hold names: it goes nowhere.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False

_JPEG, _APERIO_RGB = 7, 33005
_GRAY, _RGB, _YCBCR = 1, 2, 6
_TRANSFORMS = {(_GRAY, 1): None, (_RGB, 3): 0, (_YCBCR, 3): 1}  # by photometric interpretation and samples
_PHOTOGRAPH = re.compile(
    r"(Aperio[^\n]*\n)?\s*(label|macro)(?![a-z])", re.IGNORECASE
)  # how descriptions begin
_MOST_PIXELS = 1 << 24  # of a tile; a larger one is left to OpenSlide
_MOST_BYTES_A_PIXEL = 12  # no coder writes more; a count above it is no tile's


@dataclass(frozen=True, eq=False)
class TiledLevel:
    """One level: its size and its tiles' in pixels, and each tile's place in the file, row by row. A byte count
    of 0 is a tile that the file does not have."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    decode: Decode

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile_width)


def tiled_levels(path: Path, sizes: Sequence[tuple[int, int]]) -> list[TiledLevel] | None:
    """The index of the levels of these sizes (width, height), or None where the fast way can't serve them all.

    Served: JPEG in RGB, YCbCr or gray with 8 bits a sample, with shared tables or without, and Aperio's JPEG 2000 in
    RGB (33005). Left to OpenSlide: uncompressed, LZW and deflate tiles, JPEG 2000 in YCbCr (33003: no decoder here
    gives its chroma as OpenSlide converts it), strips, and sizes that no directory or several have. The file is open
    only while this runs. Never raises for what stands in the file.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage) and page.is_tiled]
            found = []
            for size in sizes:
                (page,) = [page for page in pages if (page.imagewidth, page.imagelength) == size]
                found.append(_level(page))
            return found
    except Exception:  # whatever a hostile file does to a library, OpenSlide has the next word
        return None


def photographs(path: Path, sizes: Sequence[tuple[int, int]]) -> set[int]:
    """Which of the levels of these sizes (width, height) have a page that says it is a photograph of the label or of
    the whole object slide. Never raises for what stands in the file.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            said = {
                (page.imagewidth, page.imagelength)
                for page in tiff.pages
                if isinstance(page, tifffile.TiffPage)
                and page.is_tiled
                and _PHOTOGRAPH.match(page.description)
            }
    except Exception:  # as above; pixels are compared too
        return set()
    return {level for level, size in enumerate(sizes) if tuple(size) in said}


def _level(page: tifffile.TiffPage) -> TiledLevel:
    """Raises ValueError or KeyError for a directory that the fast way does not serve."""
    width, height = int(page.tilewidth), int(page.tilelength)
    counts = np.array(page.databytecounts, dtype=np.int64)
    offsets = np.array(page.dataoffsets, dtype=np.int64)
    level = TiledLevel(
        page.imagewidth, page.imagelength, width, height, offsets, counts, _decoder(page, width, height)
    )
    tiles = level.across * -(-level.height // height)
    pixels = width * height
    if not (len(offsets) == len(counts) == tiles and 0 < pixels <= _MOST_PIXELS):
        raise ValueError("a level whose tiles don't cover it")
    if counts.min() < 0 or counts.max() > _MOST_BYTES_A_PIXEL * pixels + (1 << 16):
        raise ValueError("a tile of an impossible size")
    return level


def _decoder(page: tifffile.TiffPage, width: int, height: int) -> Decode:
    plain = page.planarconfig == 1 and page.imagedepth == page.tiledepth == 1 and page.fillorder == 1
    if not plain or page.bitspersample != 8:
        raise ValueError("samples that are not bytes side by side")
    if page.compression == _JPEG:
        transform = _TRANSFORMS[int(page.photometric), int(page.samplesperpixel)]
        return jpeg_decoder(page.jpegtables, transform, width, height)
    if page.compression == _APERIO_RGB and page.samplesperpixel == 3:
        return jpeg2000_decoder(width, height)
    raise ValueError("a compression that the fast way leaves to OpenSlide")

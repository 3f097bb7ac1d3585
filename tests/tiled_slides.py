"""Writes tiled TIFF slides in the many forms in which scanners and converters code tiles, byte by byte where needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import simplejpeg
import tifffile

from bench.slides_files import abbreviated

APERIO = "Aperio Image Library v12.0.15\r\nplain|MPP = 0.5"
RGB, YCBCR, GRAY = "rgb", "ycbcr", "minisblack"
SUBSAMPLED = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}


@dataclass(frozen=True)
class Form:
    """How tiles are coded. `code`: "jpeg", or what tifffile calls another compression, or Aperio's 33003 and 33005."""

    code: str | int = "jpeg"
    photometric: str = YCBCR
    chroma: str = "444"
    tables: bool = True  # shared, apart from the tiles
    markers: bool = True  # JFIF's or Adobe's segment stays in the streams
    tile: tuple[int, int] = (64, 64)
    bigtiff: bool = False
    aperio: bool = True
    said: str | None = None  # the photometric tag, where it contradicts the streams
    missing: tuple[tuple[int, int], ...] = ()  # (level, tile)


def write_tiled(
    path: Path,
    image: np.ndarray,
    form: Form,
    factors: tuple[int, ...] = (1, 2),
    odd: tuple[int, Callable[[bytes], bytes]] | None = None,
) -> Path:
    """Writes `image`, shrunk by each of `factors` to a level, mpp 0.5; returns `path`. `odd` is a tile of level 0 and what
    is made of its bytes."""
    with tifffile.TiffWriter(path, bigtiff=form.bigtiff) as tiff:
        for number, factor in enumerate(factors):
            level = np.ascontiguousarray(image[::factor, ::factor])
            if form.photometric == GRAY:
                level = level[..., 0]
            tiles = list(_coded(level, form))
            if odd and not number:
                tiles[odd[0]] = odd[1](tiles[odd[0]])
            tables = b""
            if form.code == "jpeg" and form.tables:
                parts = [abbreviated(tile) for tile in tiles]
                tables, tiles = parts[0][0], [rest for _, rest in parts]
            absent = {tile for at, tile in form.missing if at == number}
            options = (
                {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"} if not form.aperio else {}
            )
            said = form.said or form.photometric
            if form.code == "jpeg" and said == YCBCR:
                options["subsampling"] = SUBSAMPLED[form.chroma]
            if form.code == "jpeg" and said == RGB:
                options["compressionargs"] = {"outcolorspace": RGB}
            tiff.write(
                iter([b"" if at in absent else tile for at, tile in enumerate(tiles)])
                if form.code in ("jpeg", 33003, 33005)
                else level,
                shape=level.shape,
                dtype=np.uint8,
                tile=form.tile,
                compression=form.code,
                photometric=said,
                subfiletype=0 if form.aperio or not number else 1,
                description=APERIO if form.aperio and not number else None,
                metadata=None,
                extratags=[(347, 7, len(tables), tables, True)] if tables else [],
                **options,
            )
    return path


def _coded(level: np.ndarray, form: Form) -> Iterator[bytes]:
    height, width = form.tile
    for y in range(0, level.shape[0], height):
        for x in range(0, level.shape[1], width):
            tile = level[y : y + height, x : x + width]
            short = [(0, height - tile.shape[0]), (0, width - tile.shape[1])]
            tile = np.pad(tile, short + [(0, 0)] * (tile.ndim - 2), mode="edge")
            yield _code(np.ascontiguousarray(tile), form)


def _code(tile: np.ndarray, form: Form) -> bytes:
    if form.code == 33005:
        return imagecodecs.jpeg2k_encode(tile, codecformat="j2k", level=45, reversible=False)
    if form.code == 33003:
        return imagecodecs.jpeg2k_encode(tile, codecformat="j2k", level=0, mct=False)
    if form.code != "jpeg":
        return b""
    if form.photometric == RGB:
        stream = imagecodecs.jpeg8_encode(tile, level=90, colorspace="RGB", outcolorspace="RGB")
    elif form.photometric == GRAY:
        stream = simplejpeg.encode_jpeg(tile[..., None], 90, colorspace="GRAY", colorsubsampling="Gray")
    else:
        stream = simplejpeg.encode_jpeg(tile, 90, colorsubsampling=form.chroma)
    return stream if form.markers else without_markers(stream)


def without_markers(stream: bytes) -> bytes:
    """A JPEG stream without the segments (APP0 and APP14) that tell its colours."""
    kept, at = stream[:2], 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4])
        if stream[at + 1] not in (0xE0, 0xEE):
            kept += stream[at:end]
        at = end
    return kept + stream[at:]


def place_of(path: Path, level: int, tile: int) -> tuple[int, int]:
    """Where in the file a tile's bytes lie: (offset, count)."""
    with tifffile.TiffFile(path) as tiff:
        page = [page for page in tiff.pages if page.is_tiled][level]
        return page.dataoffsets[tile], page.databytecounts[tile]


def scramble(path: Path, level: int, tile: int) -> None:
    """Noise in the place of a tile's bytes, save the first two."""
    offset, count = place_of(path, level, tile)
    with path.open("r+b") as file:
        file.seek(offset + 2)
        file.write(b"\x55" * (count - 2))


def texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """RGB [height, width, 3] in which every place differs from every other, colours and edges in all directions."""
    source = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([128 + 100 * np.sin(x / 9 + y / 23 + k) for k in range(3)], axis=2)
    return np.clip(smooth + source.normal(0, 25, (height, width, 3)), 0, 255).astype(np.uint8)

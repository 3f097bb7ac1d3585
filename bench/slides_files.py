"""The slides that `bench.slides` reads: drawn tissue in pyramids as Aperio's scanners write them.

A square of 4096 px is drawn once and laid side by side, so that a slide of any size is made in seconds; every tile is
in the file once for each place, and costs what it costs to decode. Streams are abbreviated, with shared tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray

SQUARE = 4096
TILE = 256  # divides SQUARE / 16
QUALITY = 80
FACTORS = (1, 4, 16)
MPP = 0.25
_HEAD = "Aperio Image Library v12.0.15"
_JPEG2000_RGB = 33005
_JPEG2000_LEVEL = 40  # decibels; about the bytes of a scanner's quality of 70


def write_slides(folder: Path, *, quick: bool) -> dict[str, Path]:
    """Makes the slides that are not there yet: "random" (20,000 px square), "scan" (10,000) and "jpeg2000" (12,288); tiny
    ones where quick."""
    wanted = {"random": (2048 if quick else 20_000, False), "scan": (1536 if quick else 10_000, False)}
    wanted["jpeg2000"] = (1024 if quick else 12_288, True)
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: folder / f"{name}-{side}-{TILE}-q{QUALITY}.svs" for name, (side, _) in wanted.items()}
    missing = [name for name, path in found.items() if not path.is_file()]
    drawn = tissue() if missing else None
    for name in missing:
        side, jpeg2000 = wanted[name]
        unfinished = found[name].with_suffix(".part")
        assert drawn is not None
        _write(unfinished, drawn, side, jpeg2000=jpeg2000)
        unfinished.rename(found[name])
    return found


def tissue() -> NDArray[np.uint8]:
    """Stained tissue [SQUARE, SQUARE, 3] at 0.25 mpp: fibres and cytoplasm in pink, nuclei in blue with grain, noise
    of a camera."""
    source = np.random.default_rng(5)

    def cloud(scale: float) -> NDArray[np.float32]:
        side = max(8, round(SQUARE / scale))
        coarse = source.standard_normal((side, side), np.float32)
        return cv2.resize(coarse, (SQUARE, SQUARE), interpolation=cv2.INTER_CUBIC)

    fibres = cloud(6) * 0.5 + cloud(24) + cloud(160)
    pink = np.clip(0.35 + 0.12 * fibres, 0.02, 1.2)[..., None] * np.array([0.10, 0.95, 0.35], np.float32)
    nuclei = np.zeros((SQUARE, SQUARE), np.float32)
    for _ in range(SQUARE**2 // 2500):
        centre = tuple(int(v) for v in source.integers(0, SQUARE, 2))
        axes = tuple(int(v) for v in source.integers(9, 22, 2))
        depth = float(source.uniform(0.4, 1.0))
        cv2.ellipse(nuclei, centre, axes, float(source.uniform(0, 180)), 0, 360, depth, -1, cv2.LINE_AA)
    nuclei = cv2.GaussianBlur(nuclei, (0, 0), 1.2) * (1 + 0.25 * cloud(3))
    blue = nuclei[..., None] * np.array([0.95, 1.00, 0.35], np.float32)
    light = 245 * np.exp(-(pink + blue)) + source.normal(0, 2.0, (SQUARE, SQUARE, 3)).astype(np.float32)
    return np.clip(light, 0, 255).astype(np.uint8)


def _write(path: Path, drawn: NDArray[np.uint8], side: int, *, jpeg2000: bool) -> None:
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for factor in FACTORS:
            level = cv2.resize(drawn, (SQUARE // factor,) * 2, interpolation=cv2.INTER_AREA).astype(np.uint8)
            size = side // factor
            text = f"{_HEAD}\r\n{side}x{side} ({TILE}x{TILE}) JPEG Q={QUALITY}"
            text += f"|AppMag = 40|MPP = {MPP}" if factor == 1 else f" -> {size}x{size}"
            tables, coded = _jpeg2000(level) if jpeg2000 else _jpeg(level)
            tiff.write(
                _laid(coded, SQUARE // factor // TILE, -(-size // TILE)),
                shape=(size, size, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                compression=_JPEG2000_RGB if jpeg2000 else "jpeg",
                photometric="rgb" if jpeg2000 else "ycbcr",
                subsampling=None if jpeg2000 else (2, 1),
                subfiletype=0,
                description=text,
                metadata=None,
                extratags=[(347, 7, len(tables), tables, True)] if tables else [],
            )


def _laid(coded: list[bytes], period: int, across: int) -> Iterator[bytes]:
    """The coded tiles of a square of `period` x `period`, laid over `across` x `across` places."""
    for row in range(across):
        for column in range(across):
            yield coded[row % period * period + column % period]


def _jpeg(level: NDArray[np.uint8]) -> tuple[bytes, list[bytes]]:
    """Shared tables and the abbreviated stream of every tile, row by row."""
    tiles = [
        abbreviated(simplejpeg.encode_jpeg(tile, QUALITY, colorspace="RGB", colorsubsampling="422"))
        for tile in _tiles(level)
    ]
    ((tables,), streams) = {tables for tables, _ in tiles}, [stream for _, stream in tiles]
    return tables, streams


def _jpeg2000(level: NDArray[np.uint8]) -> tuple[bytes, list[bytes]]:
    def encoded(tile: NDArray[np.uint8]) -> bytes:
        return bytes(
            imagecodecs.jpeg2k_encode(tile, codecformat="j2k", reversible=False, level=_JPEG2000_LEVEL)
        )

    return b"", [encoded(tile) for tile in _tiles(level)]


def _tiles(level: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for y in range(0, level.shape[0], TILE):
        for x in range(0, level.shape[1], TILE):
            yield np.ascontiguousarray(level[y : y + TILE, x : x + TILE])


def abbreviated(stream: bytes) -> tuple[bytes, bytes]:
    """A whole JPEG stream as tables and the rest, as TIFF keeps them (TIFF technical note 2): quantisation and Huffman
    tables apart, without JFIF's segment."""
    tables, rest, at = b"\xff\xd8", b"\xff\xd8", 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4])
        if stream[at + 1] in (0xDB, 0xC4):
            tables += stream[at:end]
        elif stream[at + 1] != 0xE0:
            rest += stream[at:end]
        at = end
    return tables + b"\xff\xd9", rest + stream[at:]

"""Writes a small DICOM whole slide image, one file a level, with what identifies a patient in every element that has room.

Explicit VR, little endian, JPEG tiles in a full grid: PS3.5 sections 7.1 and A.4, PS3.3 section A.32.8.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

_WSI = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_JPEG = "1.2.840.10008.1.2.4.50"  # baseline
_LONG = {"OB", "OW", "SQ", "UN", "UT"}
_TILE = 128


def write_dicom(
    folder: Path, image: np.ndarray, mpp: float, words: tuple[str, ...], series: str = "1"
) -> list[Path]:
    """Writes `image` and half of it as two files of one series into `folder`; `words` stand where names and dates do."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for level, factor in enumerate((1, 2)):
        small = image[::factor, ::factor]
        kind = "ORIGINAL\\PRIMARY\\VOLUME\\NONE" if level == 0 else "DERIVED\\PRIMARY\\VOLUME\\RESAMPLED"
        path = folder / f"level-{level}.dcm"
        path.write_bytes(_file(small, mpp * factor, kind, words, series, level))
        paths.append(path)
    return paths


def _file(image: np.ndarray, mpp: float, kind: str, words: tuple[str, ...], series: str, level: int) -> bytes:
    height, width = image.shape[:2]
    name, number, born, scanner = words
    instance = f"1.2.3.{series}.{level + 1}"
    frames = [
        _jpeg(image[y : y + _TILE, x : x + _TILE])
        for y in range(0, height, _TILE)
        for x in range(0, width, _TILE)
    ]
    spacing = f"{mpp / 1000:.6f}\\{mpp / 1000:.6f}"
    measures = _sequence(
        0x0028, 0x9110, _text(0x0018, 0x0050, "DS", "0.001") + _text(0x0028, 0x0030, "DS", spacing)
    )
    path = _text(0x0048, 0x0106, "SH", "1") + _text(0x0048, 0x0107, "ST", name)
    body = b"".join((
        _text(0x0008, 0x0008, "CS", kind), _text(0x0008, 0x0012, "DA", born), _text(0x0008, 0x0016, "UI", _WSI),
        _text(0x0008, 0x0018, "UI", instance), _text(0x0008, 0x0020, "DA", born), _text(0x0008, 0x0023, "DA", born),
        _text(0x0008, 0x0050, "SH", number), _text(0x0008, 0x0060, "CS", "SM"), _text(0x0008, 0x0070, "LO", scanner),
        _text(0x0008, 0x0080, "LO", name), _text(0x0008, 0x0090, "PN", name), _text(0x0008, 0x1030, "LO", name),
        _text(0x0008, 0x1090, "LO", scanner), _text(0x0010, 0x0010, "PN", name), _text(0x0010, 0x0020, "LO", number),
        _text(0x0010, 0x0030, "DA", born), _text(0x0018, 0x1000, "LO", scanner), _text(0x0020, 0x000D, "UI", "1.2.3"),
        _text(0x0020, 0x000E, "UI", f"1.2.3.{series}"), _text(0x0020, 0x0013, "IS", str(level + 1)),
        _text(0x0020, 0x9311, "CS", "TILED_FULL"), _number(0x0028, 0x0002, "US", 3),
        _text(0x0028, 0x0004, "CS", "YBR_FULL_422"), _number(0x0028, 0x0006, "US", 0),
        _text(0x0028, 0x0008, "IS", str(len(frames))), _number(0x0028, 0x0010, "US", _TILE),
        _number(0x0028, 0x0011, "US", _TILE), _number(0x0028, 0x0100, "US", 8), _number(0x0028, 0x0101, "US", 8),
        _number(0x0028, 0x0102, "US", 7), _number(0x0028, 0x0103, "US", 0), _text(0x0040, 0x0512, "LO", number),
        _number(0x0048, 0x0006, "UL", width), _number(0x0048, 0x0007, "UL", height),
        _sequence(0x0048, 0x0105, path), _sequence(0x5200, 0x9229, measures), _pixels(frames),
    ))  # fmt: skip
    meta = b"".join((
        _element(0x0002, 0x0001, "OB", b"\0\1"), _text(0x0002, 0x0002, "UI", _WSI), _text(0x0002, 0x0003, "UI", instance),
        _text(0x0002, 0x0010, "UI", _JPEG), _text(0x0002, 0x0012, "UI", "1.2.3.4"),
    ))  # fmt: skip
    return b"\0" * 128 + b"DICM" + _number(0x0002, 0x0000, "UL", len(meta)) + meta + body


def _jpeg(tile: np.ndarray) -> bytes:
    whole = np.full((_TILE, _TILE, 3), 255, np.uint8)
    whole[: tile.shape[0], : tile.shape[1]] = tile
    out = io.BytesIO()
    Image.fromarray(whole).save(out, "JPEG", quality=90, subsampling="4:2:2")
    return out.getvalue()


def _pixels(frames: list[bytes]) -> bytes:
    """Encapsulated: an item with each frame's offset, one item a frame, and the end of the sequence."""
    frames = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    starts = (
        np.concatenate([[0], np.cumsum([len(frame) + 8 for frame in frames])[:-1]]).astype("<u4").tobytes()
    )
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in (starts, *frames))
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    return head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _sequence(group: int, number: int, item: bytes) -> bytes:
    return _element(group, number, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item)


def _text(group: int, number: int, kind: str, text: str) -> bytes:
    data = text.encode()
    return _element(group, number, kind, data + (b"\0" if kind == "UI" else b" ") * (len(data) % 2))


def _number(group: int, number: int, kind: str, value: int) -> bytes:
    return _element(group, number, kind, struct.pack("<H" if kind == "US" else "<I", value))


def _element(group: int, number: int, kind: str, data: bytes) -> bytes:
    head = struct.pack("<HH2s", group, number, kind.encode())
    length = struct.pack("<HI", 0, len(data)) if kind in _LONG else struct.pack("<H", len(data))
    return head + length + data

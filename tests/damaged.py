"""Slides damaged on purpose."""

from __future__ import annotations

from pathlib import Path

import tifffile


def scramble(path: Path, level: int, number: int) -> None:
    """Noise in the place of one tile's data."""
    with tifffile.TiffFile(path) as tiff:
        page = [page for page in tiff.pages if page.is_tiled][level]
        start, length = page.dataoffsets[number], page.databytecounts[number]
    data = bytearray(path.read_bytes())
    data[start : start + length] = b"\x55" * length
    path.write_bytes(data)

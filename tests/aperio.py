"""Writes small but real Aperio-like slides: pyramidal, tiled, JPEG, with what identifies a patient planted in
them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

IDENTIFIERS = ("S23-0815", "DOE^JANE", "1957-03-02", "SS9981")
TILE = 64
LIBRARY = "Aperio Image Library v12.0.15 \r\n"


def picture(width: int, height: int) -> np.ndarray:
    """A smooth, unequal RGB picture [height, width, 3]: place can be told from colour, and JPEG hardly
    changes it."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / (width - 1), 255 * y / (height - 1)
    return np.stack([red, green, np.full_like(red, 60)], axis=2).astype(np.uint8)


def write_slide(
    path: Path, image: np.ndarray, mpp: float | None = 0.5, downsamples: tuple[int, ...] = (2, 4)
) -> Path:
    """Writes `image`, a level for each of `downsamples`, thumbnail, label and macro; returns `path`."""
    height, width = image.shape[:2]
    specimen, name, born, scanner = IDENTIFIERS
    facts = f"AppMag = 20|Filename = {name}|Parmset = {specimen}|User = {born}|ScanScope ID = {scanner}"
    if mpp is not None:
        facts += f"|MPP = {mpp}"
    head = f"{LIBRARY}{width}x{height} [0,0 {width}x{height}] ({TILE}x{TILE}) JPEG/RGB Q=90"
    options = {
        "photometric": "rgb",
        "compression": "jpeg",
        "compressionargs": {"level": 95},
        "metadata": None,
    }
    tiled = {**options, "tile": (TILE, TILE)}
    with tifffile.TiffWriter(path, bigtiff=False) as tiff:
        tiff.write(image, description=f"{head}|{facts}", **tiled)
        tiff.write(image[::4, ::4], description=f"{head} -> {width // 4}x{height // 4} - |{facts}", **options)
        for factor in downsamples:
            level = _shrink(image, factor)
            size = f"{level.shape[1]}x{level.shape[0]}"
            tiff.write(level, subfiletype=0, description=f"{head} -> {size} JPEG/RGB Q=90|{facts}", **tiled)
        label = np.full((40, 60, 3), 200, np.uint8)
        label[10:20, 5:50] = (10, 10, 10)  # as if the patient's name stood there
        tiff.write(
            label,
            subfiletype=1,
            description=f"{LIBRARY}label 60x40|{name}",
            **options,
        )
        macro = np.full((40, 120, 3), 180, np.uint8)
        tiff.write(macro, subfiletype=9, description=f"{LIBRARY}macro 120x40", **options)
    return path


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    height, width = (side // factor * factor for side in image.shape[:2])
    blocks = image[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)

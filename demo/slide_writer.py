"""Writes a drawn canvas as a real slide: a tiled, pyramidal, JPEG-compressed TIFF that OpenSlide opens as Aperio.

Like slides from a scanner it carries what must never leave a hospital: a label image and identifying properties.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

TILE = 256
LEVELS = 3
QUALITY = 85


@dataclass(frozen=True)
class Identifiers:
    """What a scanner writes into its files about the patient and the site; invented, and planted to be found if it leaks."""

    patient_name: str
    record_number: str
    scanner: str


def write_slide(path: Path, rgb: NDArray[np.uint8], mpp: float, planted: Identifiers) -> None:
    """Writes `rgb` [H, W, 3] (one pixel a micrometre) as scanned at `mpp` micrometres a pixel.

    Levels halve; page order is Aperio's: baseline, thumbnail, further levels, label, macro.
    """
    height, width = (round(side / mpp) for side in rgb.shape[:2])
    base = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
    pyramid = [base]
    for _ in range(LEVELS - 1):
        smaller = (pyramid[-1].shape[1] // 2, pyramid[-1].shape[0] // 2)
        pyramid.append(cv2.resize(pyramid[-1], smaller, interpolation=cv2.INTER_AREA))
    thumbnail = cv2.resize(base, (256, round(256 * height / width)), interpolation=cv2.INTER_AREA)
    head = "Aperio Image Library v12.0.15"
    properties = {
        "AppMag": "20", "MPP": f"{mpp:.4f}", "ScanScope ID": planted.scanner, "Filename": planted.record_number,
        "User": planted.patient_name, "Date": "03/14/24", "Time": "10:21:43", "Title": planted.patient_name,
    }  # fmt: skip
    tail = "|".join(f"{k} = {v}" for k, v in properties.items())
    label = np.full((120, 240, 3), 250, np.uint8)
    for row, text in enumerate((planted.patient_name, planted.record_number, "1957-08-11")):
        cv2.putText(
            label, text, (8, 35 + 32 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 1, cv2.LINE_AA
        )
    macro = cv2.resize(thumbnail, (320, 160))
    with tifffile.TiffWriter(path) as tif:

        def page(image: NDArray[Any], description: str, *, tiled: bool, kind: int) -> None:
            # Chroma is kept whole: stain is what the tissue is read by.
            tif.write(
                image,
                photometric="rgb",
                tile=(TILE, TILE) if tiled else None,
                rowsperstrip=None if tiled else image.shape[0],
                compression="jpeg",
                compressionargs={"level": QUALITY, "outcolorspace": "ycbcr", "subsampling": (1, 1)},
                subfiletype=kind,
                description=description,
                metadata=None,
                software=False,
            )

        size = f"{width}x{height}"
        page(
            base,
            f"{head}\r\n{size} [0,0 {size}] ({TILE}x{TILE}) JPEG/RGB Q={QUALITY}|{tail}",
            tiled=True,
            kind=0,
        )
        page(thumbnail, f"{head}\r\n{size} -> {thumbnail.shape[1]}x{thumbnail.shape[0]}", tiled=False, kind=0)
        for level in pyramid[1:]:
            page(level, f"{head}\r\n{size} -> {level.shape[1]}x{level.shape[0]}", tiled=True, kind=0)
        page(label, f"{head}\r\nlabel {label.shape[1]}x{label.shape[0]}", tiled=False, kind=1)
        page(macro, f"{head}\r\nmacro {macro.shape[1]}x{macro.shape[0]}", tiled=False, kind=9)

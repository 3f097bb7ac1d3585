"""Tissue masks on drawn slides whose tissue is known: ours beside what other tools do by default.

    python -m bench.tissue [--quick] [--json]

For each case of tests/tissue_cases.py, over several drawings: recall (share of the tissue found), taken (share of the rest
taken for tissue) and intersection over union.  The others are written here after their descriptions, with their
defaults, and get the same overview at 8 microns a pixel:

    saturation   CLAM: HSV saturation above 8, median of 7, closed by 4
    grey         TIAToolbox's morphological masker: Otsu's threshold on grey, pieces below a 4 x 4 ellipse dropped, dilated
    stain        Schreiber et al. 2024: Otsu's threshold on max(R - G, 0) max(B - G, 0)

The last line is CPU seconds for ten million pixels (100,000 x 100,000 at 0.25 microns), one thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from bench import command
from client.slides.tissue import tissue_mask
from tests.tissue_cases import CASES, score

Masker = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]


def saturation(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """CLAM's."""
    values = cv2.medianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1], 7)
    closed = cv2.morphologyEx((values > 8).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((4, 4), np.uint8))
    return closed.astype(np.bool_)


def grey(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """TIAToolbox's, at 8 microns: its kernel is 32 microns wide."""
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    _, dark = cv2.threshold(light, 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4, 4))
    _, owner, figures, _ = cv2.connectedComponentsWithStats(dark, connectivity=8)
    kept = figures[:, cv2.CC_STAT_AREA] >= kernel.sum()
    kept[0] = False
    return cv2.dilate(kept[owner].astype(np.uint8), kernel).astype(np.bool_)


def stain(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Schreiber et al.'s."""
    red, green, blue = np.moveaxis(image.astype(np.float32), 2, 0)
    product = np.maximum(red - green, 0) * np.maximum(blue - green, 0)
    scaled = (product / max(1.0, float(product.max())) * 255).astype(np.uint8)
    _, found = cv2.threshold(scaled, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return found.astype(np.bool_)


MASKERS: dict[str, Masker] = {"ours": tissue_mask, "saturation": saturation, "grey": grey, "stain": stain}


def measure(*, quick: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Means over drawings, by case and masker; `all` has the mean intersection over union over cases with tissue."""
    seeds = range(1 if quick else 4)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for case in CASES[:3] if quick else CASES:
        pictures = [case.draw(np.random.default_rng(seed)) for seed in seeds]
        found[case.name] = {}
        for name, masker in MASKERS.items():
            scores = [score(picture, masker) for picture in pictures]
            found[case.name][name] = {
                figure: float(np.mean([getattr(one, figure) for one in scores]))
                for figure in ("recall", "taken", "iou")
            }
    found["all"] = {
        name: {"iou": float(np.nanmean([figures[name]["iou"] for figures in found.values()]))}
        for name in MASKERS
    }
    return found


def seconds() -> float:
    """CPU seconds of our mask over ten million pixels of tissue and glass."""
    cv2.setNumThreads(1)
    image = np.tile(CASES[0].draw(np.random.default_rng(0)).rgb, (7, 5, 1))[:3125, :3125].copy()
    start = time.process_time()
    tissue_mask(image)
    return time.process_time() - start


def main() -> None:
    """Command line."""
    asked = command.options(__doc__, "three cases, once: proves that it runs").parse_args()
    found, spent = measure(quick=asked.quick), seconds()
    if asked.json:
        print(json.dumps({"cases": found, "seconds_for_ten_million_pixels": spent}))
        return
    print(f"{'recall / taken / IoU':26}" + "".join(f"{name:>24}" for name in MASKERS))
    for case, figures in found.items():
        cells = (" / ".join(f"{value:.3f}" for value in figures[name].values()) for name in MASKERS)
        print(f"{case:26}" + "".join(f"{cell:>24}" for cell in cells))
    print(f"{'ten million pixels':26}{spent:>22.2f} s")


if __name__ == "__main__":
    main()

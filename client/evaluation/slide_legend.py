"""What stands below a slide's picture: a scale, some facts, and what the colours mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

_BLACK: Colour = (0, 0, 0)
_TEXT = 20  # pixels
_ROW = 38
_MARGIN = 20
_SWATCH = 30
_ABOVE = 8


@dataclass(frozen=True)
class Swatch:
    """One entry: a square, filled and outlined as it says."""

    words: str
    line: Colour | None = None
    fill: Colour | None = None
    width: int = 3


def legend(width: int, mpp: float, facts: str, swatches: Sequence[Swatch]) -> Image.Image:
    """A strip of `width` pixels for a picture of `mpp` microns a pixel: as many rows as its entries need."""
    font = ImageFont.load_default(_TEXT)
    places: list[tuple[int, int]] = []
    x, row = _MARGIN, 2
    for swatch in swatches:
        needed = _SWATCH + 10 + int(font.getlength(swatch.words))
        if x > _MARGIN and x + needed > width - _MARGIN:
            x, row = _MARGIN, row + 1
        places.append((x, row))
        x += needed + 30
    strip = Image.new("RGB", (width, (row + 1) * _ROW + 2 * _ABOVE), (255, 255, 255))
    pen = ImageDraw.Draw(strip)
    bar = bar_length(width * mpp / 5)
    _bar(pen, bar / mpp, length(bar), font)
    pen.text((_MARGIN, _middle(1)), facts, _BLACK, font, anchor="lm")
    for swatch, (x, row) in zip(swatches, places, strict=True):
        middle = _middle(row)
        square = (x, middle - _SWATCH // 3, x + _SWATCH, middle + _SWATCH // 3)
        pen.rectangle(square, fill=swatch.fill, outline=swatch.line, width=swatch.width)
        pen.text((x + _SWATCH + 10, middle), swatch.words, _BLACK, font, anchor="lm")
    return strip


def bar_length(most: float) -> float:
    """The longest of 1, 2 and 5 times a power of ten that is at most `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= most * (1 + 1e-9))


def length(microns: float) -> str:
    """In the unit that suits: "250 um", "1.5 mm" (the built-in font has no micro sign)."""
    return f"{microns / 1000:.3g} mm" if microns >= 1000 else f"{microns:.3g} um"


def _bar(
    pen: ImageDraw.ImageDraw, pixels: float, words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    middle, right = _middle(0), _MARGIN + pixels
    pen.line([(_MARGIN, middle), (right, middle)], fill=_BLACK, width=5)
    for x in (_MARGIN, right):
        pen.line([(x, middle - 8), (x, middle + 8)], fill=_BLACK, width=3)
    pen.text((right + 12, middle), words, _BLACK, font, anchor="lm")


def _middle(row: int) -> int:
    return _ABOVE + row * _ROW + _ROW // 2

"""A whole slide on one picture, for a person to check: its tissue, its tiles, and what is asked about it.

Nothing of the file but pixels of its pyramid and numbers that were worked out is shown: no name, no label, no date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.evaluation.drawing import TRUE, Outline, at_level_0, outlines
from client.evaluation.slide_legend import Colour, Swatch, legend, length
from client.slides.tiles import Cells, Grid
from client.slides.tissue_map import TissueMap
from client.tasks.sample import Polygons, Region, Sample

SIDE = 1600  # pixels of the slide's longer side

# From Okabe and Ito's palette: told apart by hue and by brightness, and each drawn in another way.
_TISSUE: Colour = (0, 114, 178)
_INK: Colour = (240, 228, 66)
_ASKED: Colour = (0, 0, 0)
_GRID: Colour = (110, 110, 110)
_WHITE: Colour = (255, 255, 255)
_STAIN: Colour = (219, 160, 200)  # stands for tissue in the legend
_SHADE: Colour = (172, 221, 186)  # TRUE, as thin as outlines are filled
_FADED: Colour = (226, 226, 226)  # over what is not taken
_FADE = 150  # of 255
_FINE = 2  # drawn so many times larger, then averaged down: PIL draws hard edges
_LEAST_CELL = 14  # pixels: a finer grid would hide the tissue
_LEAST_MARK = 7  # pixels: a smaller region is drawn as large as this
_NARROWEST = 960  # pixels: the legend needs them


@dataclass(frozen=True)
class Mark:
    """A region that is asked about, and the true shapes in it, in level-0 pixels; `filled` are polygons."""

    region: Region
    boxes: tuple[Outline, ...] = ()
    filled: tuple[Outline, ...] = ()


@dataclass(frozen=True)
class Shown:
    """All that the picture shows. `image`: the slide, RGB [H, W, 3] at any scale."""

    image: NDArray[np.uint8]
    tissue: TissueMap
    grid: Grid
    taken: Cells
    marks: tuple[Mark, ...]


def marks_of(samples: Sequence[Sample]) -> tuple[Mark, ...]:
    """Regions that are asked about, each once, with all true shapes of its questions."""
    found: dict[Region, Mark] = {}
    for sample in samples:
        if sample.region is None:
            continue
        shapes = tuple(at_level_0(shape, sample.region) for shape in outlines(sample.answer))
        old = found.get(sample.region, Mark(sample.region))
        if isinstance(sample.answer, Polygons):
            found[sample.region] = Mark(sample.region, old.boxes, old.filled + shapes)
        else:
            found[sample.region] = Mark(sample.region, old.boxes + shapes, old.filled)
    return tuple(found.values())


def slide_picture(shown: Shown) -> Image.Image:
    """The slide, its longer side SIDE pixels, and below it a scale and a legend."""
    slide = shown.tissue.slide
    scale = SIDE / max(slide.width, slide.height)  # pixels of the picture a level-0 pixel
    size = max(1, round(slide.width * scale)), max(1, round(slide.height * scale))
    layers = _Layers(shown, scale * _FINE, (size[0] * _FINE, size[1] * _FINE))
    picture = layers.drawn().resize(size, Image.Resampling.LANCZOS)
    width = max(_NARROWEST, size[0])
    below = legend(width, slide.mpp / scale, _facts(shown), _swatches(shown))
    sheet = Image.new("RGB", (width, size[1] + below.height), _WHITE)
    sheet.paste(picture, ((width - size[0]) // 2, 0))
    sheet.paste(below, (0, size[1]))
    return sheet


def _facts(shown: Shown) -> str:
    slide, tile = shown.tissue.slide, shown.grid.side * shown.tissue.slide.mpp
    return (
        f"{length(slide.width * slide.mpp)} x {length(slide.height * slide.mpp)}   "
        f"tissue {shown.tissue.overview.tissue.mean():.1%}   "
        f"{len(shown.taken)} of {shown.grid.rows * shown.grid.columns} tiles of {length(tile)} taken"
    )


def _swatches(shown: Shown) -> list[Swatch]:
    """What the picture's colours mean: those that it has."""
    entries = [
        (True, Swatch("edge of tissue", line=_TISSUE)),
        (True, Swatch("tile taken", fill=_STAIN, line=_GRID, width=1)),
        (True, Swatch("not taken (faded)", fill=_FADED, line=_GRID, width=1)),
        (shown.tissue.overview.ink.any(), Swatch("taken for pen or black", fill=_INK)),
        (shown.marks, Swatch("region asked about", line=_ASKED, width=4)),
        (any(mark.boxes for mark in shown.marks), Swatch("true box", line=TRUE)),
        (any(mark.filled for mark in shown.marks), Swatch("true outline", line=TRUE, fill=_SHADE)),
    ]
    return [swatch for there, swatch in entries if there]


class _Layers:
    """The slide with everything over it, at _FINE times the picture's size."""

    def __init__(self, shown: Shown, scale: float, size: tuple[int, int]) -> None:
        self._shown, self._scale, self._size = shown, scale, size
        self._canvas = Image.fromarray(shown.image).resize(size, Image.Resampling.BICUBIC)

    def drawn(self) -> Image.Image:
        self._fade()
        self._grid()
        seen = self._shown.tissue.overview
        self._filled(seen.ink, _INK, 150)
        self._outlined(seen.tissue, _WHITE, 5)
        self._outlined(seen.tissue, _TISSUE, 3)
        self._marks()
        return self._canvas

    def _fade(self) -> None:
        """What is not taken steps back."""
        veil = Image.new("L", self._size, _FADE)
        pen = ImageDraw.Draw(veil)
        for row, column in self._shown.taken.tolist():
            pen.rectangle(self._cell(row, column), fill=0)
        self._canvas.paste(Image.new("RGB", self._size, _FADED), mask=veil)

    def _grid(self) -> None:
        if self._shown.grid.stride * self._scale < _LEAST_CELL * _FINE:
            return
        layer = Image.new("RGBA", self._size, (0, 0, 0, 0))
        pen = ImageDraw.Draw(layer)
        for row, column in self._shown.grid.cells.tolist():
            pen.rectangle(self._cell(row, column), outline=(*_GRID, 70), width=1)
        for row, column in self._shown.taken.tolist():
            pen.rectangle(self._cell(row, column), outline=(*_GRID, 255), width=_FINE)
        self._canvas.paste(layer, mask=layer)

    def _cell(self, row: int, column: int) -> tuple[float, float, float, float]:
        tile = self._shown.grid.tile(row, column)
        return (
            tile.x * self._scale,
            tile.y * self._scale,
            (tile.x + tile.width) * self._scale,
            (tile.y + tile.height) * self._scale,
        )

    def _filled(self, mask: NDArray[np.bool_], colour: Colour, opacity: int) -> None:
        """The inside of a mask over the whole slide."""
        inside = Image.fromarray(mask.astype(np.uint8) * opacity).resize(self._size, Image.Resampling.NEAREST)
        self._canvas.paste(Image.new("RGB", self._size, colour), mask=inside)

    def _outlined(self, mask: NDArray[np.bool_], colour: Colour, width: int) -> None:
        """The edges of a mask over the whole slide, holes' too."""
        across, down = self._size[0] / mask.shape[1], self._size[1] / mask.shape[0]
        pen = ImageDraw.Draw(self._canvas)
        lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        for line in lines:
            points = [((x + 0.5) * across, (y + 0.5) * down) for x, y in line[:, 0].tolist()]
            pen.line([*points, points[0]], fill=colour, width=width * _FINE, joint="curve")

    def _marks(self) -> None:
        layer = Image.new("RGBA", self._size, (0, 0, 0, 0))
        pen = ImageDraw.Draw(layer)
        for mark in self._shown.marks:
            for shape in mark.filled:
                pen.polygon(self._points(shape), fill=(*TRUE, 90))
            for colour, width in ((_WHITE, 5), (TRUE, 3)):
                for shape in mark.boxes + mark.filled:
                    points = self._points(shape)
                    line = [*points, points[0], points[1]]
                    pen.line(line, fill=(*colour, 255), width=width * _FINE, joint="curve")
        for mark in self._shown.marks:
            pen.rectangle(self._around(mark.region), outline=(*_WHITE, 255), width=5 * _FINE)
        for mark in self._shown.marks:
            x1, y1, x2, y2 = self._around(mark.region)
            inner = (x1 + _FINE, y1 + _FINE, x2 - _FINE, y2 - _FINE)
            pen.rectangle(inner, outline=(*_ASKED, 255), width=3 * _FINE)
        self._canvas.paste(layer, mask=layer)

    def _points(self, shape: Outline) -> list[tuple[float, float]]:
        return [(x * self._scale, y * self._scale) for x, y in shape]

    def _around(self, region: Region) -> tuple[float, float, float, float]:
        """The region's rectangle, never too small to see."""
        width, height = (
            max(side * self._scale, _LEAST_MARK * _FINE) / 2 for side in (region.width, region.height)
        )
        x, y = (region.x + region.width / 2) * self._scale, (region.y + region.height / 2) * self._scale
        return x - width, y - height, x + width, y + height

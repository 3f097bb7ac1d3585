"""Answers drawn over tissue: outlines in two colours, the true one filled faintly, and what a segmenter made of boxes.

Pixels in, pixels out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.tasks.sample import FRAME, Answer, Box, Boxes, Polygon, Polygons, Region

TRUE, PREDICTED = (
    (22, 163, 74),
    (234, 88, 12),
)  # green, orange: told apart by the colour-blind by their brightness
SIDE = 480  # pixels of a drawing's longer side
_FINE = 2  # drawn so many times larger, then averaged down: PIL draws hard edges
_FILL = 48  # of 255: how much of the tissue an outline's inside hides

Point = tuple[float, float]
Outline = tuple[Point, ...]


def outlines(answer: Answer | None) -> tuple[Outline, ...]:
    """The shapes that an answer gives, as points of the frame; none for words, and for no answer."""
    if isinstance(answer, Boxes):
        return tuple(_points(box) for box in answer.boxes)
    if isinstance(answer, Polygons):
        return tuple(_points(shape) for shape in answer.polygons)
    return ()


def at_level_0(outline: Outline, region: Region) -> Outline:
    """From the frame of a region to level-0 pixels of its slide."""
    return tuple(
        (region.x + x * region.width / FRAME, region.y + y * region.height / FRAME) for x, y in outline
    )


def drawn(
    image: NDArray[np.uint8],
    true: Sequence[Outline],
    predicted: Sequence[Outline],
    side: int = SIDE,
    found: NDArray[np.bool_] | None = None,
) -> Image.Image:
    """The image, its longer side `side`, with true outlines in green and predicted ones in orange over it; what a segmenter
    `found` in predicted boxes, a mask [H, W] over the whole image, is tinted orange.

    Outlines are in the frame (0..1000 across and down the image). Tissue that is enlarged is interpolated.
    """
    height, width = image.shape[:2]
    scale = side * _FINE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    if found is not None:
        tint = Image.fromarray(np.where(found, np.uint8(_FILL), np.uint8(0))).resize(
            size, Image.Resampling.BILINEAR
        )
        canvas.paste(Image.new("RGB", size, PREDICTED), mask=tint)
    for shapes, colour, fill, line in ((true, TRUE, _FILL, 5), (predicted, PREDICTED, 0, 3)):
        layer = Image.new("RGBA", size, (0, 0, 0, 0))
        pen = ImageDraw.Draw(layer)
        for shape in shapes:
            points = [(x * (size[0] - 1) / FRAME, y * (size[1] - 1) / FRAME) for x, y in shape]
            if fill:
                pen.polygon(points, fill=(*colour, fill))
            pen.line([*points, points[0], points[1]], fill=(*colour, 255), width=line * _FINE, joint="curve")
        canvas.paste(layer, mask=layer)
    return canvas.resize((size[0] // _FINE or 1, size[1] // _FINE or 1), Image.Resampling.LANCZOS)


def _points(shape: Polygon | Box) -> Outline:
    return tuple((float(x), float(y)) for x, y in shape.points)

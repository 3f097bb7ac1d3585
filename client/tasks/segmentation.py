"""What the regions that the question names cover: outlines, boxes where the model gives no better, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from client.tasks.cells import Cells, polygons
from client.tasks.grammar import parse_polygons, render_polygons
from client.tasks.overlap import dice, mask, matched_share
from client.tasks.sample import Answer, Box, Polygon, Polygons, Sample
from client.tasks.task import Figure, Given, expect

BoxMasks = Callable[[Sample, Sequence[Box]], NDArray[np.bool_]]  # -> [MASK_SIDE, MASK_SIDE]


class Segmentation:
    """The answer is outlines in the frame, or `none`. In a predicted answer some or all may be boxes.

    A box covers itself; where `box_masks` is set, it covers what a segmenter finds in the sample's image.
    """

    name = "segmentation"
    kind: type[Answer] = Polygons
    column = "polygons"
    instruction = ""
    metric = "Dice"

    def __init__(self, box_masks: BoxMasks | None = None) -> None:
        self.box_masks = box_masks

    def read(self, cells: Cells) -> Polygons:
        """A JSON list of outlines in level-0 pixels."""
        return polygons(cells, self.column)

    def render(self, answer: Answer) -> str:
        """The outlines as they are."""
        return render_polygons(expect(answer, Polygons, self.name))

    def parse(self, text: str) -> Polygons | None:
        """Outlines and boxes from end to end, or None; `none` is no region."""
        return parse_polygons(text)

    def reward(self, text: str, sample: Sample) -> float:
        """Half the detection reward on the regions' boxes, half Dice of the mask."""
        predicted, true = self.parse(text), self._true(sample)
        if predicted is None:
            return 0.0
        share = matched_share(_bounds(predicted.polygons), _bounds(true))
        return (share + self._overlap(predicted.polygons, sample)) / 2

    def score(self, answers: Sequence[Given]) -> list[float]:
        """Dice of each image; an unreadable answer has 0."""
        return [self._dice(text or "", sample) for text, sample in answers]

    def figures(self, answers: Sequence[Given]) -> Sequence[Figure]:
        """None."""
        return ()

    def found_in_boxes(self, predicted: Sequence[Polygon | Box], sample: Sample) -> NDArray[np.bool_] | None:
        """What a segmenter finds in the boxes of an answer, [MASK_SIDE, MASK_SIDE]; None without a segmenter or boxes."""
        boxes = [region for region in predicted if isinstance(region, Box)]
        return self.box_masks(sample, boxes) if self.box_masks is not None and boxes else None

    def _dice(self, text: str, sample: Sample) -> float:
        predicted = self.parse(text)
        return 0.0 if predicted is None else self._overlap(predicted.polygons, sample)

    def _overlap(self, predicted: Sequence[Polygon | Box], sample: Sample) -> float:
        """Dice of the two masks; 1 where both answers say that there is nothing."""
        true = self._true(sample)
        if not predicted and not true:
            return 1.0
        found = self.found_in_boxes(predicted, sample)
        if found is None:
            return dice(mask(predicted), mask(true))
        outlined = mask(region for region in predicted if isinstance(region, Polygon))
        return dice(outlined | found, mask(true))

    def _true(self, sample: Sample) -> tuple[Polygon | Box, ...]:
        return expect(sample.answer, Polygons, self.name).polygons


def _bounds(regions: Sequence[Polygon | Box]) -> list[Box]:
    return [region.bounds() for region in regions]


TASK = Segmentation()

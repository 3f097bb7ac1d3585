"""What the regions that the question names cover: outlines, or boxes where the model gives no better."""

from __future__ import annotations

from collections.abc import Sequence

from client.errors import AnswerError
from client.tasks.frame import snap_polygons
from client.tasks.grammar import parse_boxes, parse_polygons, render_polygons
from client.tasks.overlap import dice, matched_share
from client.tasks.sample import Answer, Box, Boxes, Polygon, Polygons, Sample


class Segmentation:
    """The true answer is outlines in the frame, or `none`; a predicted one may be outlines or boxes."""

    name = "segmentation"
    metric = "Dice"

    def render(self, answer: Answer) -> str:
        """The outlines, coordinates rounded to the written grid."""
        return render_polygons(snap_polygons(_polygons(answer)))

    def parse(self, text: str) -> Polygons | Boxes | None:
        """Outlines from end to end, or boxes from end to end, or None; `none` is no outline."""
        outlines = parse_polygons(text)
        return parse_boxes(text) if outlines is None else outlines

    def reward(self, text: str, sample: Sample) -> float:
        """Half the detection reward on the regions' boxes, half Dice of the mask."""
        predicted, true = self._regions(text), _polygons(sample.answer).polygons
        if predicted is None:
            return 0.0
        return (matched_share(_bounds(predicted), _bounds(true)) + dice(predicted, true)) / 2

    def score(self, answers: Sequence[tuple[str | None, Sample]]) -> list[float]:
        """Dice of each image; an unreadable answer has 0."""
        return [self._dice(text or "", sample) for text, sample in answers]

    def _dice(self, text: str, sample: Sample) -> float:
        predicted = self._regions(text)
        return 0.0 if predicted is None else dice(predicted, _polygons(sample.answer).polygons)

    def _regions(self, text: str) -> Sequence[Polygon | Box] | None:
        answer = self.parse(text)
        if answer is None:
            return None
        return answer.boxes if isinstance(answer, Boxes) else answer.polygons


def _polygons(answer: Answer) -> Polygons:
    if not isinstance(answer, Polygons):
        raise AnswerError(f"segmentation writes Polygons, not {answer!r}")
    return answer


def _bounds(regions: Sequence[Polygon | Box]) -> list[Box]:
    return [region.bounds() if isinstance(region, Polygon) else region for region in regions]

"""Where the objects that the question names are: boxes. A question asks for one class: matches are within
it."""

from __future__ import annotations

from collections.abc import Sequence

from client.tasks.cells import Cells, boxes
from client.tasks.grammar import parse_boxes, render_boxes
from client.tasks.metrics import average_precision_50
from client.tasks.overlap import matched_share
from client.tasks.sample import Answer, Box, Boxes, Sample
from client.tasks.task import Figure, Given, expect


class Detection:
    """The answer is a set of boxes in the frame, or `none`."""

    name = "detection"
    kind: type[Answer] = Boxes
    column = "boxes"
    instruction = ""
    metric = "AP50"

    def read(self, cells: Cells) -> Boxes:
        """A JSON list of boxes in level-0 pixels."""
        return boxes(cells, self.column)

    def render(self, answer: Answer) -> str:
        """The boxes as they are."""
        return render_boxes(expect(answer, Boxes, self.name))

    def parse(self, text: str) -> Boxes | None:
        """Boxes from end to end, or None."""
        return parse_boxes(text)

    def reward(self, text: str, sample: Sample) -> float:
        """Sum of matched IoU over max(predicted, true): spam and duplicates lose through the denominator."""
        predicted = self.parse(text)
        return 0.0 if predicted is None else matched_share(predicted.boxes, self._true(sample))

    def score(self, answers: Sequence[Given]) -> list[float]:
        """Average precision at IoU 0.5 of each image, in the answer's order; an unreadable answer has 0."""
        return [self._average_precision(text or "", sample) for text, sample in answers]

    def figures(self, answers: Sequence[Given]) -> Sequence[Figure]:
        """None."""
        return ()

    def _average_precision(self, text: str, sample: Sample) -> float:
        predicted = self.parse(text)
        return 0.0 if predicted is None else average_precision_50(predicted.boxes, self._true(sample))

    def _true(self, sample: Sample) -> tuple[Box, ...]:
        return expect(sample.answer, Boxes, self.name).boxes


TASK = Detection()

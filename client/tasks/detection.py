"""Where the objects that the question names are: boxes. A question asks for one class: matches are within
it."""

from __future__ import annotations

from collections.abc import Sequence

from client.errors import AnswerError
from client.tasks.frame import snap_boxes
from client.tasks.grammar import parse_boxes, render_boxes
from client.tasks.metrics import average_precision_50
from client.tasks.overlap import matched_share
from client.tasks.sample import Answer, Boxes, Sample


class Detection:
    """The answer is a set of boxes in the frame, or `none`."""

    name = "detection"
    metric = "AP50"

    def render(self, answer: Answer) -> str:
        """The boxes, coordinates rounded to the written grid."""
        return render_boxes(snap_boxes(_boxes(answer)))

    def parse(self, text: str) -> Boxes | None:
        """Boxes from end to end, or None."""
        return parse_boxes(text)

    def reward(self, text: str, sample: Sample) -> float:
        """Sum of matched IoU over max(predicted, true): spam and duplicates lose through the denominator."""
        predicted = self.parse(text)
        return 0.0 if predicted is None else matched_share(predicted.boxes, _boxes(sample.answer).boxes)

    def score(self, answers: Sequence[tuple[str | None, Sample]]) -> list[float]:
        """Average precision at IoU 0.5 of each image, in the answer's order; an unreadable answer has 0."""
        return [self._average_precision(text or "", sample) for text, sample in answers]

    def _average_precision(self, text: str, sample: Sample) -> float:
        predicted = self.parse(text)
        if predicted is None:
            return 0.0
        return average_precision_50(predicted.boxes, _boxes(sample.answer).boxes)


def _boxes(answer: Answer) -> Boxes:
    if not isinstance(answer, Boxes):
        raise AnswerError(f"detection writes Boxes, not {answer!r}")
    return answer

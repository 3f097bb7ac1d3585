"""What every task offers. The four of them are values without state; `client.tasks.registry` holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from client.tasks.sample import Answer, Sample


class Task(Protocol):
    """One kind of question: how its answers are written and read, and what a predicted answer is worth.

    Texts are answers alone, without a thinking block. `reward` trains; `score` only reports.
    """

    name: str
    metric: str  # what `score` measures, as a table's heading

    def render(self, answer: Answer) -> str:
        """The text of a true answer; AnswerError for another task's kind of answer."""
        ...

    def parse(self, text: str) -> Answer | None:
        """The answer that a text gives, or None where it gives none. `parse(render(x)) == x` for x on the
        written grid."""
        ...

    def reward(self, text: str, sample: Sample) -> float:
        """What a text is worth in training, in [0, 1]; 0 where it can't be parsed."""
        ...

    def score(self, answers: Sequence[tuple[str | None, Sample]]) -> list[float]:
        """The metric of each text (None: no answer was given), in [0, 1], in order; their mean is the task's
        figure."""
        ...

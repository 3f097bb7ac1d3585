"""What every task offers: one file a task, `client/tasks/<name>.py`, which calls it `TASK`.

A task has no state, but that segmentation's may be given a segmenter at the start. `client.tasks.registry` holds
them all; docs/howto/add-a-task.md adds another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from client.errors import AnswerError
from client.tasks.cells import Cells
from client.tasks.sample import Answer, Sample

Given = tuple[str | None, Sample]  # what was answered (None: nothing was), and the question

_Kind = TypeVar("_Kind", bound=Answer)


@dataclass(frozen=True)
class Figure:
    """A mean over a set of answers: what each of them adds to it, in order, and None for those that it is not about; it is
    about one at least. With `classes`, one an answer, it is the mean over classes of each one's mean, however rare.
    """

    name: str
    values: Sequence[float | None]
    classes: Sequence[str] | None = None


class Task(Protocol):
    """One kind of question: how its answers are written and read, and what a predicted answer is worth.

    Texts are answers alone, without a thinking block. `reward` trains; `score` and `figures` only report.
    """

    name: str
    kind: type[Answer]  # of the true answer
    column: str  # of the manifest, that holds the true answer
    instruction: str  # what a prompt says after the question; "" for nothing
    metric: str  # what `score` measures, as a table's heading

    def read(self, cells: Cells) -> Answer:
        """The true answer that a manifest's row gives; CellError names what is wrong with it."""
        ...

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

    def score(self, answers: Sequence[Given]) -> list[float]:
        """The metric of each text, in [0, 1], in order; their mean is the task's figure."""
        ...

    def figures(self, answers: Sequence[Given]) -> Sequence[Figure]:
        """What is told beside the metric; often nothing."""
        ...


def expect(answer: Answer, kind: type[_Kind], task: str) -> _Kind:
    """The answer, if it is of the kind that the task takes; else AnswerError."""
    if not isinstance(answer, kind):
        raise AnswerError(f"{task} writes {kind.__name__}, not {answer!r}")
    return answer

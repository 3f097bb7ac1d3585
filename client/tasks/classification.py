"""Which class a region or slide is of: one label, right or wrong."""

from __future__ import annotations

from collections.abc import Sequence

from client.tasks.cells import Cells, words
from client.tasks.grammar import parse_words
from client.tasks.sample import Answer, Label, Sample
from client.tasks.task import Figure, Given, expect
from client.tasks.wording import normalise, same


class Classification:
    """The answer is a label. Right means equal after normalisation and synonyms, never a part of it."""

    name = "classification"
    kind: type[Answer] = Label
    column = "answer"
    instruction = ""
    metric = "accuracy"

    def read(self, cells: Cells) -> Label:
        """Any words are a label."""
        return Label(words(cells, self.column))

    def render(self, answer: Answer) -> str:
        """The label as it is."""
        return expect(answer, Label, self.name).text

    def parse(self, text: str) -> Label | None:
        """Any words are a label; no words are none."""
        line = parse_words(text)
        return None if line is None else Label(line)

    def reward(self, text: str, sample: Sample) -> float:
        """1 for the true label, 0 for any other text."""
        return float(same(text, self.render(sample.answer)))

    def score(self, answers: Sequence[Given]) -> list[float]:
        """1 or 0 each; the mean is the accuracy."""
        return [self.reward(text or "", sample) for text, sample in answers]

    def figures(self, answers: Sequence[Given]) -> Sequence[Figure]:
        """The balanced accuracy: each true class counts alike, however rare. Synonyms are one class."""
        classes = [normalise(self.render(sample.answer)) for _, sample in answers]
        return (Figure("balanced accuracy", self.score(answers), classes),)


TASK = Classification()

"""A question in words, answered in words: closed (choices, yes or no, a number, a range, a fraction) or open."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from client.tasks.cells import Cells, words
from client.tasks.sample import Answer, Sample, Text
from client.tasks.task import Given, expect
from client.tasks.wording import normalise, same, token_f1

_VALUE = r"[+-]?(?:[0-9]+(?:[.,][0-9]+)?|\.[0-9]+)%?"
_NUMBER = re.compile(rf"{_VALUE}(?:[-–/:]{_VALUE})?")  # noqa: RUF001 - a range is written with either dash


class Vqa:
    """The answer is free text. Closed questions want exactly it; open ones are judged by the words they
    share."""

    name = "vqa"
    kind: type[Answer] = Text
    column = "answer"
    instruction = ""
    metric = "accuracy or token F1"

    def read(self, cells: Cells) -> Text:
        """Any words are an answer."""
        return Text(words(cells, self.column))

    def render(self, answer: Answer) -> str:
        """The text as it is."""
        return expect(answer, Text, self.name).text

    def parse(self, text: str) -> Text | None:
        """Any words are an answer; no words are none."""
        line = " ".join(text.split())
        return Text(line) if line else None

    def reward(self, text: str, sample: Sample) -> float:
        """Closed: 1 for the true answer and 0 for any other. Open: token F1, length-capped."""
        true = self.render(sample.answer)
        return float(same(text, true)) if self._is_closed(sample) else token_f1(text, true)

    def score(self, answers: Sequence[Given]) -> list[float]:
        """As the reward: it can't be gamed, so it may also report."""
        return [self.reward(text or "", sample) for text, sample in answers]

    def figures(self, answers: Sequence[Given]) -> Mapping[str, float]:
        """The two parts that the mean is made of, where there are both: closed questions and open ones."""
        parts: dict[str, list[float]] = {"accuracy of closed": [], "token F1 of open": []}
        for (_, sample), score in zip(answers, self.score(answers), strict=True):
            parts["accuracy of closed" if self._is_closed(sample) else "token F1 of open"].append(score)
        return (
            {name: sum(scores) / len(scores) for name, scores in parts.items()} if all(parts.values()) else {}
        )

    def _is_closed(self, sample: Sample) -> bool:
        """Whether one exact answer is right: the sample has choices, or its answer is yes, no or a number, a range or a
        fraction of numbers."""
        true = normalise(self.render(sample.answer))
        return bool(sample.choices) or true in {"yes", "no"} or _NUMBER.fullmatch(true) is not None


TASK = Vqa()

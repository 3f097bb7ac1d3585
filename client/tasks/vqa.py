"""A question in words, answered in words: closed (choices, or one word: yes, a number, a range, a name) or open."""

from __future__ import annotations

from collections.abc import Sequence

from client.tasks.cells import Cells, words
from client.tasks.grammar import parse_words
from client.tasks.sample import Answer, Sample, Text
from client.tasks.task import Figure, Given, expect
from client.tasks.wording import normalise, same, token_f1


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
        line = parse_words(text)
        return None if line is None else Text(line)

    def reward(self, text: str, sample: Sample) -> float:
        """Closed: 1 for the true answer and 0 for any other. Open: token F1, length-capped."""
        true = self.render(sample.answer)
        return float(same(text, true)) if self._is_closed(sample) else token_f1(text, true)

    def score(self, answers: Sequence[Given]) -> list[float]:
        """As the reward."""
        return [self.reward(text or "", sample) for text, sample in answers]

    def figures(self, answers: Sequence[Given]) -> Sequence[Figure]:
        """The two parts that the mean is made of, where there are both: closed questions and open ones."""
        closed = [self._is_closed(sample) for _, sample in answers]
        if all(closed) or not any(closed):
            return ()
        scored = list(zip(closed, self.score(answers), strict=True))
        return (
            Figure("accuracy of closed", [score if is_closed else None for is_closed, score in scored]),
            Figure("token F1 of open", [None if is_closed else score for is_closed, score in scored]),
        )

    def _is_closed(self, sample: Sample) -> bool:
        """Whether one exact answer is right: the sample has choices, or its answer is one word. Of several one-word answers
        named at once, the shared word would earn more than a guess does.
        """
        return bool(sample.choices) or len(normalise(self.render(sample.answer)).split()) == 1


TASK = Vqa()

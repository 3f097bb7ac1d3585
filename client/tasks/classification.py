"""Which class a region or slide is of: one label, right or wrong."""

from __future__ import annotations

from collections.abc import Sequence

from client.errors import AnswerError
from client.tasks.sample import Answer, Label, Sample
from client.tasks.wording import same


class Classification:
    """The answer is a label. Right means equal after normalisation and synonyms, never a part of it."""

    name = "classification"
    metric = "accuracy"

    def render(self, answer: Answer) -> str:
        """The label as it is."""
        if not isinstance(answer, Label):
            raise AnswerError(f"classification writes a Label, not {answer!r}")
        return answer.text

    def parse(self, text: str) -> Label | None:
        """Any words are a label; no words are none."""
        words = " ".join(text.split())
        return Label(words) if words else None

    def reward(self, text: str, sample: Sample) -> float:
        """1 for the true label, 0 for any other text."""
        return float(same(text, self.render(sample.answer)))

    def score(self, answers: Sequence[tuple[str | None, Sample]]) -> list[float]:
        """1 or 0 each; the mean is the accuracy."""
        return [self.reward(text or "", sample) for text, sample in answers]

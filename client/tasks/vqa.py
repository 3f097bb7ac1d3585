"""A question in words, answered in words: closed (choices, yes or no, a number) or open."""

from __future__ import annotations

import re
from collections.abc import Sequence

from client.errors import AnswerError
from client.tasks.sample import Answer, Sample, Text
from client.tasks.wording import normalise, same, token_f1

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?%?")


class Vqa:
    """The answer is free text. Closed questions want exactly it; open ones are judged by the words they
    share."""

    name = "vqa"
    metric = "accuracy or token F1"

    def render(self, answer: Answer) -> str:
        """The text as it is."""
        if not isinstance(answer, Text):
            raise AnswerError(f"vqa writes a Text, not {answer!r}")
        return answer.text

    def parse(self, text: str) -> Text | None:
        """Any words are an answer; no words are none."""
        words = " ".join(text.split())
        return Text(words) if words else None

    def reward(self, text: str, sample: Sample) -> float:
        """Closed: 1 for the true answer and 0 for any other. Open: token F1, length-capped."""
        true = self.render(sample.answer)
        return float(same(text, true)) if is_closed(sample) else token_f1(text, true)

    def score(self, answers: Sequence[tuple[str | None, Sample]]) -> list[float]:
        """As the reward: it can't be gamed, so it may also report."""
        return [self.reward(text or "", sample) for text, sample in answers]


def is_closed(sample: Sample) -> bool:
    """Whether only one exact answer is right: the sample has choices, or its answer is yes, no or a
    number."""
    true = normalise(sample.answer.text) if isinstance(sample.answer, Text) else ""
    return bool(sample.choices) or true in {"yes", "no"} or _NUMBER.fullmatch(true) is not None

"""A question about a visual input, as token ids and positions of the base's own chat template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from client.model.base import Base
from client.model.errors import PromptError
from client.model.stop import Stop
from client.model.visual import Visual
from client.tasks.frame import on_grid
from client.tasks.prompt import THINK_INSTRUCTION
from client.tasks.registry import TASKS
from client.tasks.sample import Sample

_MARK = "question"


@dataclass(frozen=True)
class Prompt:
    """ids int64 [L]; positions int64 [axes, L]; `visual`, bool [L]: where the visual tokens stand; `instruction`: the
    slice of the question's own tokens, after them and without a demand to think.

    next_position: where the answer's first token stands on all axes.
    """

    ids: Tensor
    positions: Tensor
    visual: Tensor
    instruction: slice
    next_position: int

    def __len__(self) -> int:
        return len(self.ids)


class PromptBuilder:
    """Turns questions into prompts and answers into ids; the same question about the same grid is built
    once.
    """

    def __init__(self, base: Base) -> None:
        self._tokenizer = base.tokenizer
        self._architecture = base.architecture
        self._step = base.scales.coordinate_step
        self.end = self._end()
        self._lead = (
            self._render(_asking(_MARK), True).partition(self._architecture.image_token)[2].find(_MARK)
        )
        self._built = lru_cache(maxsize=4096)(self._build)
        self.stop = lru_cache(maxsize=None)(self._stop)

    def prompt(self, question: str, visual: Visual) -> Prompt:
        """User turn (visual tokens, then the question) and the opening of the assistant's turn, as the base's own
        processor would write them.
        """
        return self._built(question, visual.grid, len(visual.tokens))

    def text_tokens(self, question: str) -> int:
        """Tokens of the question's prompt beside the visual ones and the marks about an image's frames."""
        return len(self._built(question, None, 1)) - 1

    def true_answer(self, sample: Sample) -> str:
        """A sample's answer as this base is to write it: coordinates on its grid."""
        return TASKS[sample.task].render(on_grid(sample.answer, self._step))

    def answer(self, text: str) -> list[int]:
        """The ids of an answer and the end-of-turn token after it."""
        return [*self.ids(text), self.end]

    def ids(self, text: str) -> list[int]:
        """The ids of a part of an answer."""
        found: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def text(self, ids: list[int]) -> str:
        """The text of generated ids up to the end token; a special token within it stays, as text that no
        answer has.
        """
        kept = ids[:-1] if ids and ids[-1] == self.end else ids
        return str(
            self._tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )

    def _stop(self, tag: str = "") -> Stop:
        """An answer's end: its turn's, and the tag's where one is given."""
        tokens = range(len(self._tokenizer))
        letters = (
            [token or "" for token in self._tokenizer.convert_ids_to_tokens(list(tokens))] if tag else []
        )
        return Stop(self.end, tag, letters, self.text)

    def _end(self) -> int:
        """The token that the chat template writes after an assistant's turn; where it writes none, EOS."""
        answered = {"role": "assistant", "content": [{"type": "text", "text": _MARK}]}
        after = self.ids(self._render([*_asking(_MARK), answered], False).rpartition(_MARK)[2].strip())
        return after[0] if after else int(self._tokenizer.eos_token_id)

    def _render(self, turns: list[Any], opening: bool) -> str:
        return str(self._tokenizer.apply_chat_template(turns, add_generation_prompt=opening, tokenize=False))

    def _build(self, question: str, grid: tuple[int, int] | None, count: int) -> Prompt:
        image = self._architecture.image_token
        before, *after = self._render(_asking(question), True).split(image)
        if len(after) != 1:
            raise PromptError(
                f"the chat template made {len(after)} image placeholders of one image; "
                f"a question must not hold {image!r}"
            )
        asked = after[0].find(question.strip(), self._lead)
        if self._lead < 0 or asked < 0:
            raise PromptError("the chat template does not write the question as it is; it can't be used")
        head = before + self._architecture.placeholder(grid, count)
        told = self._tokenizer(head + after[0], add_special_tokens=False, return_offsets_mapping=True)
        ids = torch.tensor(told["input_ids"], dtype=torch.long)
        seen = ids.eq(cast("int", self._tokenizer.convert_tokens_to_ids(image)))
        if int(seen.sum()) != count:
            raise PromptError(f"{count} visual tokens became {int(seen.sum())} placeholders")
        first = len(head) + asked
        words = question.strip()
        last = first + len(words.removesuffix(THINK_INSTRUCTION).rstrip() or words)
        own = [i for i, (start, end) in enumerate(told["offset_mapping"]) if end > first and start < last]
        positions, next_position = self._architecture.positions(seen, grid)
        return Prompt(ids, positions, seen, slice(own[0], own[-1] + 1), next_position)


def _asking(question: str) -> list[Any]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]

"""A question about a visual input, as token ids and positions of the base's own chat template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from client.model.base import Base
from client.model.errors import PromptError
from client.model.visual import Visual


@dataclass(frozen=True)
class Prompt:
    """ids int64 [L]; positions int64 [3, L] (temporal, height, width); `visual` is the slice of the visual
    tokens.

    next_position: where the answer's first token stands on all three axes.
    """

    ids: Tensor
    positions: Tensor
    visual: slice
    next_position: int

    def __len__(self) -> int:
        return len(self.ids)


class PromptBuilder:
    """Turns questions into prompts and answers into ids; the same question about the same grid is built
    once.
    """

    def __init__(self, base: Base) -> None:
        self._tokenizer = base.tokenizer
        self._image_id = int(base.model.config.image_token_id)
        self._image_token = str(base.tokenizer.convert_ids_to_tokens(self._image_id))
        self.end = int(base.tokenizer.eos_token_id)
        self._build = lru_cache(maxsize=4096)(self._build_uncached)

    def prompt(self, question: str, visual: Visual) -> Prompt:
        """User turn (visual tokens, then the question) and the opening of the assistant's turn.

        A region's tokens get Qwen3-VL's grid positions; a slide's are positioned as plain text.
        """
        return self._build(question, visual.grid, len(visual.tokens))

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

    def _build_uncached(self, question: str, grid: tuple[int, int] | None, count: int) -> Prompt:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        turn: list[Any] = [{"role": "user", "content": content}]
        text = str(self._tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False))
        parts = text.split(self._image_token)
        if len(parts) != 2:
            raise PromptError(
                f"the chat template made {len(parts) - 1} image placeholders of one image; "
                f"a question must not hold {self._image_token!r}"
            )
        before, after = (self._tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts)
        start = len(before)
        ids = torch.tensor([*before, *[self._image_id] * count, *after], dtype=torch.long)
        if grid is None:
            positions = torch.arange(len(ids)).expand(3, -1)
            return Prompt(ids, positions, slice(start, start + count), len(ids))
        rows, columns = grid
        cell = torch.arange(count)
        seen = torch.stack([torch.zeros_like(cell), cell // columns, cell % columns]) + start
        tail = start + max(rows, columns) + torch.arange(len(after))
        positions = torch.cat([torch.arange(start).expand(3, -1), seen, tail.expand(3, -1)], dim=1)
        return Prompt(ids, positions, slice(start, start + count), start + max(rows, columns) + len(after))

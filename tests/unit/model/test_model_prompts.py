from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from client.model.base import Base
from client.model.errors import PromptError
from client.model.prompt_tokens import PromptBuilder
from client.model.visual import Visual, encode_images


@pytest.mark.parametrize("shape", [(64, 64), (32, 64), (64, 32)])
def test_positions_equal_transformers_rope_index(tiny_base: Path, shape: tuple[int, int]) -> None:
    """Would catch rows and columns swapped, or an answer that starts at the wrong position after an image."""
    base = Base.load(tiny_base)
    image = np.zeros((*shape, 3), np.uint8)
    prompt = PromptBuilder(base).prompt("How many glands?", encode_images(base, [image])[0])
    types = (prompt.ids == base.model.config.image_token_id).int()[None]
    grid = torch.tensor([[1, shape[0] // 16, shape[1] // 16]])
    positions, deltas = base.model.model.get_rope_index(prompt.ids[None], types, image_grid_thw=grid)
    assert torch.equal(prompt.positions, positions[:, 0])
    assert prompt.next_position == len(prompt) + int(deltas[0])
    assert prompt.ids[prompt.visual].unique().tolist() == [base.model.config.image_token_id]


def test_a_slide_is_positioned_as_plain_text(tiny_base: Path) -> None:
    """Would catch a slide's tokens given a square's positions."""
    base = Base.load(tiny_base)
    prompt = PromptBuilder(base).prompt("Diagnosis?", Visual(torch.zeros(7, base.width)))
    assert torch.equal(prompt.positions, torch.arange(len(prompt)).expand(3, -1))
    assert prompt.next_position == len(prompt)
    assert prompt.visual.stop - prompt.visual.start == 7


def test_the_prompt_is_the_chat_template_with_the_placeholder_spread(tiny_base: Path) -> None:
    """Would catch a question or the assistant's opening lost around the visual tokens."""
    base = Base.load(tiny_base)
    prompt = PromptBuilder(base).prompt("Is there fat?", Visual(torch.zeros(3, base.width)))
    text = base.tokenizer.decode(prompt.ids)
    assert (
        text == "<|user|><|vision_start|>" + "<|image_pad|>" * 3 + "<|vision_end|>Is there fat?<|assistant|>"
    )


def test_a_question_with_an_image_placeholder_is_refused(tiny_base: Path) -> None:
    """Would catch a manifest that smuggles visual positions into a prompt."""
    base = Base.load(tiny_base)
    with pytest.raises(PromptError, match="placeholder"):
        PromptBuilder(base).prompt("Look: <|image_pad|>", Visual(torch.zeros(3, base.width)))


def test_answers_end_with_the_end_token_and_read_back(tiny_base: Path) -> None:
    """Would catch an answer without its end, and special tokens hidden from the format reward."""
    builder = PromptBuilder(Base.load(tiny_base))
    answer = "<bbox>[10,20,30,40]</bbox>"
    ids = builder.answer(answer)
    assert ids[-1] == builder.end
    assert builder.text(ids) == answer
    assert builder.text([*builder.answer("a")[:-1], builder.end, *builder.answer("b")]) == "a<|end|>b"

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from client.model.base import Base
from client.model.errors import PromptError
from client.model.prompt_tokens import PromptBuilder
from client.model.visual import Visual
from client.tasks.prompt import THINK_INSTRUCTION


def test_a_slide_is_positioned_as_plain_text(tiny_base: Path) -> None:
    """Would catch a slide's tokens given a square's positions."""
    base = Base.load(tiny_base)
    prompt = PromptBuilder(base).prompt("Diagnosis?", Visual(torch.zeros(7, base.width)))
    assert torch.equal(prompt.positions, torch.arange(len(prompt)).expand(3, -1))
    assert prompt.next_position == len(prompt)
    assert int(prompt.visual.sum()) == 7


def test_the_prompt_is_the_chat_template_with_the_placeholder_spread(tiny_base: Path) -> None:
    """Would catch a question or the assistant's opening lost around the visual tokens."""
    base = Base.load(tiny_base)
    prompt = PromptBuilder(base).prompt("Is there fat?", Visual(torch.zeros(3, base.width)))
    text = base.tokenizer.decode(prompt.ids)
    assert (
        text == "<|user|><|vision_start|>" + "<|image_pad|>" * 3 + "<|vision_end|>Is there fat?<|assistant|>"
    )


@pytest.mark.parametrize("demand", [THINK_INSTRUCTION, f" {THINK_INSTRUCTION}\n"])
def test_a_question_that_is_nothing_but_the_demand_to_think_is_a_question(
    tiny_base: Path, demand: str
) -> None:
    """Catches a manifest's row that ends a round: what is left of it without the demand has no token."""
    base = Base.load(tiny_base)
    prompt = PromptBuilder(base).prompt(demand, Visual(torch.zeros(3, base.width)))
    assert base.tokenizer.decode(prompt.ids[prompt.instruction]).strip() == THINK_INSTRUCTION


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

"""What SFT teaches of a sample that was asked to think."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.model.base import Base
from client.model.prompt_tokens import PromptBuilder
from client.tasks.prompt import thinking
from client.training import sft
from client.training.batch import items
from tests.model_cases import Inputs, samples_of


@pytest.mark.parametrize(
    ("said", "thought", "taught"),
    [
        ("<think>two glands</think>", "two glands", "<think></think><answer>{}</answer>"),
        ("<think>two glands", "two glands", "<think></think><answer>{}</answer>"),
        ("<think></think>", "", "{}</answer>"),
        ("", "", "{}</answer>"),
    ],
    ids=["thought", "cut short", "nothing thought", "nothing said"],
)
def test_all_but_the_thought_is_a_target(tiny_base: Path, said: str, thought: str, taught: str) -> None:
    """Catches a model that is taught its own words, loses the tags' form, or learns to think nothing."""
    base = Base.load(tiny_base)
    prompts = PromptBuilder(base)
    (sample,) = samples_of("a")[:1]
    (row,) = items([[sample]], Inputs(base), prompts, thinking)
    target = sft._target(prompts, row, prompts.ids(said))
    at = target.thought
    targets = [*target.ids[: at.start], *target.ids[at.stop :]]
    assert targets[-1] == prompts.end
    answer = prompts.true_answer(sample)
    assert prompts.text(targets).replace(" ", "") == taught.format(answer).replace(" ", "")
    whole = f"<think>{thought}</think><answer>{answer}</answer>"
    assert prompts.text(list(target.ids)).replace(" ", "") == whole.replace(" ", "")

"""Answers end with their closing tag, whatever a tokenizer makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from client.model.base import Base
from client.model.experts import Experts
from client.tasks.grammar import ANSWER_ENDS, THOUGHT_ENDS
from client.tasks.prompt import thinking
from client.training import rollout, sft
from client.training.batch import Performance, items
from tests.model_cases import Inputs, fresh, samples_of
from tests.tiny_families import FAMILIES

SAID = "<think>two glands</think><answer>fat</answer>"


class Scripted(nn.Module):
    """A head that writes these tokens one after the other, whatever the decoder says."""

    def __init__(self, ids: list[int], vocabulary: int) -> None:
        super().__init__()
        self.ids, self.vocabulary, self.calls = ids, vocabulary, 0

    def forward(self, hidden: Tensor) -> Tensor:
        logits = hidden.new_zeros(len(hidden), self.vocabulary)
        logits[:, self.ids[self.calls]] = 1e4
        self.calls += 1
        return logits


@pytest.fixture(params=["qwen3_vl", "qwen2_5_vl"])
def experts(request: pytest.FixtureRequest, tmp_path: Path) -> Experts:
    """A base whose tags are a token each, and one whose tags are several."""
    FAMILIES[request.param](tmp_path)
    return fresh(Base.load(tmp_path))


@pytest.fixture
def says(experts: Experts) -> Callable[[str], Scripted]:
    def script(text: str) -> Scripted:
        model = experts.base.model
        model.lm_head = Scripted(experts.prompts.ids(text), model.config.text_config.vocab_size)
        return model.lm_head

    return script


def rows(experts: Experts) -> list[sft.Item]:
    return items([samples_of("a")[:2]], Inputs(experts.base), experts.prompts, thinking)


@pytest.mark.parametrize(
    ("tag", "written"), [(ANSWER_ENDS, SAID), (THOUGHT_ENDS, "<think>two glands</think>")]
)
def test_an_answer_ends_with_its_tag(
    experts: Experts, says: Callable[[str], Scripted], tag: str, written: str
) -> None:
    """Catches text after the closing tag, the opening tag taken for the closing one (both end in the same letter), an
    end-of-turn token that the model never wrote, and steps decoded after all rows have ended."""
    queries = [row.query for row in rows(experts)]
    for sampled in (True, False):
        head = says(SAID + "and so on, for ever")
        stop = experts.prompts.stop(tag)
        with experts.only("roi", None):
            if sampled:
                found = rollout.sample(experts, queries, torch.rand(2, 3, 90, dtype=torch.float64), stop)
                answers = [answer for group in found for answer in group]
            else:
                answers = rollout.greedy(experts, queries, 90, stop)
        assert [experts.prompts.text(ids) for ids in answers] == [written] * len(answers)
        assert all(ids == experts.prompts.ids(written) for ids in answers)
        assert head.calls == len(answers[0])


def test_without_a_tag_only_the_turn_ends_an_answer(
    experts: Experts, says: Callable[[str], Scripted]
) -> None:
    """Catches a direct answer that is cut at a tag which it quotes."""
    query = rows(experts)[0].query
    head = says(SAID)
    head.ids = [*head.ids, experts.prompts.end, *head.ids]
    with experts.only("roi", None):
        (ids,) = rollout.greedy(experts, [query], 90, experts.prompts.stop())
    assert ids == [*experts.prompts.ids(SAID), experts.prompts.end]


def test_sft_keeps_the_models_own_thought(experts: Experts, says: Callable[[str], Scripted]) -> None:
    """Catches a thought that ends with the opening tag's last letter: then nothing was thought, no tag about a thought
    is a target, and the form that GRPO starts from is lost."""
    says("<think>ok</think><answer>")
    targets = sft._after_thinking(experts, rows(experts), Performance())
    prompts = experts.prompts
    for target in targets:
        assert prompts.text(list(target.ids)).startswith("<think>ok</think><answer>")
        assert prompts.text([target.ids[i] for i in target.thought]) == "ok"

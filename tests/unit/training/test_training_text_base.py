"""The decoder without a vision tower, on which benches and the nightly SmolLM2 tests train."""

from __future__ import annotations

from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM

from bench.text_base import text_experts
from client.model.base import Base
from client.tasks.sample import Region, Sample, Text
from privacy.experts import ExpertForm


def test_its_questions_are_counted_in_words_alone(tiny_base: Path) -> None:
    """Catches a text base that lags behind the prompts that training asks: it was found out at night, if at all."""
    tokenizer = Base.load(tiny_base).tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    form = ExpertForm(2, 4.0, ("q_proj",))
    model = LlamaForCausalLM(config).requires_grad_(False)
    experts = text_experts(model, tokenizer, {"scale/roi": form}, str.upper, end=int(tokenizer.eos_token_id))
    sample = Sample("p", "none", Region(0, 0, 64, 64), "vqa", "Mucin?", Text("some"))
    asked, answered = experts.lengths(sample)
    assert asked > len(experts.prompts.ids("MUCIN?")), "with the instruction to think"
    assert answered == len(experts.prompts.ids("some")) + 1

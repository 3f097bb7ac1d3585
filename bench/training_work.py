"""What `bench.training` has both sides do: models, sequences, prompts and rewards, the same wherever they are made.

Texts are words that stand for one token each, so that both sides read the same ids; the token that ends an answer lies
outside the model's vocabulary, so that every rollout is as long as it may be.
"""

from __future__ import annotations

import random
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

LEARNING_RATE = 1e-4
END = "<end>"
FAMILIES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


@dataclass(frozen=True)
class Work:
    """A decoder and what a step of it holds: `patients` with `each` sequences or prompts.

    SFT: `prompt` and `answer` tokens a sequence, the loss on the answer. GRPO: `group` rollouts of `completion` tokens a
    prompt. `rank` of the LoRA expert, alpha twice that, on all seven linear layers.
    """

    family: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool
    rank: int
    patients: int
    each: int
    prompt: int
    answer: int
    grpo_patients: int
    group: int
    completion: int

    @property
    def sequences(self) -> int:
        """Of a step of SFT."""
        return self.patients * self.each

    @property
    def prompts(self) -> int:
        """Of a step of GRPO."""
        return self.grpo_patients * self.each


# The embedded base's decoder; SmolLM2-135M's; those of Qwen2.5-VL 3B and 7B.
WORKS = {
    "quick": Work("llama", 64, 128, 2, 4, 2, 16, 512, True, 4, 2, 1, 12, 4, 2, 4, 8),
    "embedded": Work("qwen3", 192, 512, 6, 6, 2, 32, 648, True, 4, 16, 1, 96, 32, 4, 8, 48),
    "smollm2-135m": Work("llama", 576, 1536, 30, 9, 3, 64, 49152, True, 16, 8, 1, 96, 32, 2, 8, 48),
    "qwen2.5-3b": Work("qwen2", 2048, 11008, 36, 16, 2, 128, 151936, True, 64, 2, 8, 384, 128, 2, 8, 256),
    "qwen2.5-7b": Work("qwen2", 3584, 18944, 28, 28, 4, 128, 152064, False, 64, 2, 8, 384, 128, 2, 8, 256),
}


def device() -> str:
    """Where it is measured."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def clock() -> float:
    """CPU seconds of this process; on a GPU, seconds, once it has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def decoder(work: Work, weights: Path | None) -> Any:
    """The model in eval mode, frozen: of these weights, or random ones that are the same in every process."""
    config, kind = FAMILIES[work.family]
    dtype = torch.bfloat16 if device() == "cuda" else torch.float32
    if weights is not None:
        model = kind.from_pretrained(weights, dtype=dtype)
    else:
        torch.manual_seed(0)
        with torch.device(device()):
            model = kind(
                config(
                    hidden_size=work.hidden,
                    intermediate_size=work.intermediate,
                    num_hidden_layers=work.layers,
                    num_attention_heads=work.heads,
                    num_key_value_heads=work.kv_heads,
                    head_dim=work.head,
                    vocab_size=work.vocabulary,
                    tie_word_embeddings=work.tied,
                    bos_token_id=None,
                    eos_token_id=None,
                    pad_token_id=None,
                    dtype=dtype,
                )
            ).to(dtype)
    return model.to(device()).eval().requires_grad_(False)


def tokenizer(work: Work) -> PreTrainedTokenizerFast:
    """A word a token: `w<id>`."""
    words = {f"w{number}": number for number in range(work.vocabulary)} | {END: work.vocabulary}
    own = Tokenizer(models.WordLevel(words, unk_token="w0"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made: Any = PreTrainedTokenizerFast  # transformers leaves it untyped
    fast: PreTrainedTokenizerFast = made(tokenizer_object=own, eos_token=END, pad_token=END)
    fast.chat_template = "{{ messages }}"
    return fast


def prompts(work: Work, count: int) -> list[str]:
    """The prompts of a step."""
    return _texts(work, count, work.prompt, 1)


def answers(work: Work, count: int) -> list[str]:
    """Their true answers."""
    return _texts(work, count, work.answer, 2)


def score(text: str, words: int) -> float:
    """A reward in [0, 1] that differs from rollout to rollout; ValueError for one that is not of so many words."""
    if len(text.split()) != words:
        raise ValueError(f"a rollout has {len(text.split())} tokens and not {words}: not the same work")
    return zlib.crc32(text.encode()) / 2**32


def _texts(work: Work, count: int, words: int, seed: int) -> list[str]:
    source = random.Random(seed)
    return [" ".join(f"w{source.randrange(work.vocabulary)}" for _ in range(words)) for _ in range(count)]

"""A base folder with random weights, small enough for unit tests: the embedded base's format and nothing
learnt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from client.tasks.prompt import THINK_INSTRUCTION

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = (
    "<|pad|>",
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
    "<|vision_start|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
SPECIAL = (*SPECIAL, "<|vision_end|>")
MARKS = (
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<bbox>[",
    "]</bbox>",
    "<poly>[",
    "]</poly>",
    THINK_INSTRUCTION,
)


@dataclass(frozen=True)
class Size:
    vision: int = 32
    vision_layers: int = 2
    text: int = 32
    text_layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    image: int = 64


EMBEDDED = Size(vision=128, vision_layers=4, text=192, text_layers=6, heads=4, kv_heads=4, image=128)


def write_tiny_base(folder: Path, size: Size = Size(), seed: int = 0) -> Path:
    """The whole folder, with weights larger than the usual start so that outputs differ visibly."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    head = size.text // size.heads
    third = head // 2 // 3
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": 640,
            "hidden_size": size.text,
            "intermediate_size": size.text * 8 // 3,
            "num_hidden_layers": size.text_layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "head_dim": head,
            "max_position_embeddings": 2048,
            "pad_token_id": ids["<|pad|>"],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [head // 2 - 2 * third, third, third],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision,
            "intermediate_size": size.vision * 3,
            "num_heads": 4,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": size.text,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config)
    enlarge(model)
    torch.random.set_rng_state(state)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "patch_size": 16,
                "temporal_patch_size": 2,
                "merge_size": 2,
                "image_mean": [0.5, 0.4, 0.5],
                "image_std": [0.5, 0.5, 0.25],
                "size": {"shortest_edge": 1024, "longest_edge": size.image**2},
            }
        )
    )
    (folder / "fedpath.json").write_text(
        json.dumps({"roi_pixels": size.image, "roi_mpp": 1.0, "wsi_mpp": 2.0, "wsi_max_tokens": 36})
    )
    return folder


@torch.no_grad()
def enlarge(model: torch.nn.Module) -> None:
    """Random weights larger than the usual start, so that outputs differ visibly."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            scale = 0.3 if "embed_tokens" in name else 1.0 / parameter[0].numel() ** 0.5
            parameter.normal_(0.0, scale)


def make_tokenizer(
    special: Sequence[str] = SPECIAL,
    template: str = CHAT_TEMPLATE,
    pad: str = "<|pad|>",
    eos: str = "<|end|>",
    marks: Sequence[str] = MARKS,
) -> PreTrainedTokenizerFast:
    """Letters, the answers' marks (a real base has none: its tags are several tokens), and these special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in marks])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, eos_token=eos)
    fast.chat_template = template
    return fast

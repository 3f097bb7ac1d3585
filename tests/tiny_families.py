"""Base folders with random weights, one for each family of models that is served: its own classes, configuration,
processor and chat template, tiny.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE as SMOLVLM_TEMPLATE

from tests.tiny_base import Size, enlarge, make_tokenizer, write_tiny_base

WIDTH, VOCABULARY, SIDE = 32, 640, 64
QWEN25_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN25_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
FRAMES = [f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3)]
IDEFICS_SPECIAL = (
    "<|im_start|>",
    "<|im_end|>",
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<global-img>",
    "<image>",
    *FRAMES,
)
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "max_position_embeddings": 2048,
}
HEADS, KV_HEADS = 4, 2  # of the text models; vLLM's kernels for CPUs want heads of 32 values, so one there


def qwen3(folder: Path, heads: int = HEADS, kv_heads: int = KV_HEADS) -> None:
    """Qwen3-VL, as the embedded base: deepstack, tags that are tokens."""
    write_tiny_base(folder, Size(heads=heads, kv_heads=kv_heads))


def qwen25(folder: Path, heads: int = HEADS, kv_heads: int = KV_HEADS) -> None:
    """Qwen2.5-VL: windowed attention in its vision tower, no deepstack. Its tags are several tokens, as a real base's."""
    tokenizer = make_tokenizer(QWEN25_SPECIAL, QWEN25_TEMPLATE, "<|endoftext|>", "<|im_end|>", marks=())
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in QWEN25_SPECIAL}
    config = Qwen2_5_VLConfig(
        text_config={
            **TEXT,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [WIDTH // heads // part for part in (4, 8, 8)],
            },
            "pad_token_id": ids["<|endoftext|>"],
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 16,
            "window_size": 64,
            "fullatt_block_indexes": [1],
            "out_hidden_size": WIDTH,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48, 0.45, 0.4],
        "image_std": [0.27, 0.26, 0.28],
        "min_pixels": 1024,
        "max_pixels": SIDE**2,
    }
    _save(folder, lambda: Qwen2_5_VLForConditionalGeneration(config), tokenizer, processor)


def smolvlm(folder: Path, heads: int = HEADS, kv_heads: int = KV_HEADS) -> None:
    """SmolVLM: frames of 32 pixels, four tokens each."""
    text = {**TEXT, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    _idefics(folder, "SmolVLM", text, SmolVLMConfig, SmolVLMForConditionalGeneration)


def idefics3(folder: Path, heads: int = HEADS, kv_heads: int = KV_HEADS) -> None:
    """Idefics3."""
    text = {**TEXT, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    _idefics(folder, "Idefics3", text, Idefics3Config, Idefics3ForConditionalGeneration)


FAMILIES: Mapping[str, Callable[..., object]] = {
    "qwen3_vl": qwen3,
    "qwen2_5_vl": qwen25,
    "smolvlm": smolvlm,
    "idefics3": idefics3,
}


def _idefics(
    folder: Path,
    name: str,
    text: Mapping[str, object],
    config_of: Callable[..., Any],
    model_of: Callable[[Any], Any],
) -> None:
    tokenizer = make_tokenizer(IDEFICS_SPECIAL, SMOLVLM_TEMPLATE, "<|im_end|>", "<|im_end|>")
    config = config_of(
        text_config={
            "model_type": "llama",
            **text,
            "pad_token_id": tokenizer.pad_token_id,
            "tie_word_embeddings": True,  # vLLM looks here
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=True,
    )
    processor = {
        "image_processor_type": f"{name}ImageProcessor",
        "size": {"longest_edge": SIDE},
        "max_image_size": {"longest_edge": 32},
        "image_mean": [0.5, 0.4, 0.5],
        "image_std": [0.5, 0.5, 0.25],
    }
    _save(folder, lambda: model_of(config), tokenizer, processor)


def _save(
    folder: Path,
    model: Callable[[], Any],
    tokenizer: PreTrainedTokenizerFast,
    processor: Mapping[str, object],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    made = model()
    enlarge(made)
    torch.random.set_rng_state(state)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    scales = {"roi_pixels": SIDE, "roi_mpp": 1.0, "wsi_mpp": 2.0, "wsi_max_tokens": 36}
    (folder / "fedpath.json").write_text(json.dumps(scales))

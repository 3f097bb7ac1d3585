"""The families of base models by the `model_type` of their configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from client.model.architectures.architecture import Architecture
from client.model.architectures.idefics3 import Idefics3
from client.model.architectures.qwen_vl import QwenVL

# From a loaded model, its tokenizer and its preprocessor_config.json.
Family = Callable[[Any, Any, Mapping[str, Any]], Architecture]
ARCHITECTURES: Mapping[str, Family] = MappingProxyType(
    {"qwen2_5_vl": QwenVL, "qwen3_vl": QwenVL, "idefics3": Idefics3, "smolvlm": Idefics3}
)

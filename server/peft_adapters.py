"""LoRA experts as plain peft adapters: a folder for each, which `PeftModel.from_pretrained(base, folder)` loads.

A folder holds adapter_config.json, adapter_model.safetensors (each layer's frozen A, made anew from the public seed, and
the B that hospitals trained) and README.md, the model card. What an expert has beside LoRA factors, the slide
projector of `scale/wsi`, is left out, and the card says so; the router is no LoRA and gets no folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privacy import durable, tensors
from privacy.evaluation import Evaluation
from privacy.experts import ROUTER, ExpertForm
from privacy.public_start import frozen_a
from privacy.ranks import is_b
from server.base_layers import decoder_of, width_of, widths
from server.errors import HomeError
from server.model_card import Released, card

Arrays = dict[str, NDArray[np.float32]]
CARD = "README.md"


def adapter_folder(expert: str) -> str:
    """The folder of an expert's adapter, which serves as peft's name for it too: that may hold no `/`."""
    return expert.replace("/", "__")


def write_adapters(
    folder: Path,
    base: Path,
    released: Released,
    states: Mapping[str, bytes],
) -> dict[str, tuple[str, ...]]:
    """Write an adapter for each LoRA expert, and a card of them all beside; what was left out, by expert: tensors that peft has
    no place for.

    Raises `HomeError` where `base` is not the experts' base, or `folder` has something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HomeError(f"{folder} holds other things: name a new folder")
    experts = released.experts
    decoder, found = decoder_of(base, experts.base_hash), widths(base)
    left_out: dict[str, tuple[str, ...]] = {}
    for expert, data in states.items():
        state = tensors.decode(data, len(data))
        other = tuple(sorted(name for name in state if not is_b(name)))
        if other:
            left_out[expert] = other
        if expert == ROUTER:
            continue
        place = folder / adapter_folder(expert)
        place.mkdir(parents=True)
        factors, layers = _factors(expert, experts, state, decoder, found)
        config = _config(experts.forms[expert], [f"{decoder}.{layer}" for layer in layers])
        about = card(replace(released, only=expert, left_out=other))
        durable.put(place / "adapter_model.safetensors", tensors.encode(factors), 0o644)
        durable.put(place / "adapter_config.json", json.dumps(config, indent=1).encode(), 0o644)
        durable.put(place / CARD, about.encode(), 0o644)
    durable.put(folder / CARD, card(released).encode(), 0o644)
    return left_out


def _factors(
    expert: str, experts: Evaluation, state: Arrays, decoder: str, found: Mapping[str, int]
) -> tuple[Arrays, list[str]]:
    """A and B of each layer under peft's names, and the layers."""
    rank, factors, layers = experts.forms[expert].rank, Arrays(), []
    for name, b in state.items():
        if not is_b(name):
            continue
        layer = name.removesuffix(".lora_B")
        shape = (rank, width_of(found, layer))
        prefix = f"base_model.model.{decoder}.{layer}"
        factors[f"{prefix}.lora_A.weight"] = frozen_a(
            experts.base_hash, expert, layer, experts.expert_seed, shape
        )
        factors[f"{prefix}.lora_B.weight"] = b
        layers.append(layer)
    return factors, layers


def _config(form: ExpertForm, layers: list[str]) -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "r": form.rank,
        "lora_alpha": form.alpha,
        "target_modules": layers,
        "lora_dropout": 0.0,
        "bias": "none",
        "task_type": None,
        "inference_mode": True,
        "base_model_name_or_path": None,
    }

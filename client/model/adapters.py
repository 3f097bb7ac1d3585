"""peft, seen through what we rely on: the one file that imports it.

peft makes and holds the LoRA parameters of each layer, of its own rank, alpha and layers for each expert. Which
of them act, and how they are computed, is ours (`expert_linear`); peft's own notion of active adapters is never
read. One private name is used, `_register_custom_module`: it is how peft lets a layer class be ours.
"""

from __future__ import annotations

import warnings
from typing import Any, cast

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn

from privacy.experts import ExpertForm


class AdapterLinear(LoraLinear):
    """A linear layer with the LoRA factors of the experts that adapt it."""

    base_layer: nn.Linear

    @property
    def computes_in(self) -> torch.dtype:
        """The type of the base layer's products: its weight's, or what its 4-bit weight stands for."""
        weight: Any = self.base_layer.weight
        found: torch.dtype = weight.dtype if weight.is_floating_point() else weight.quant_state.dtype
        return found

    def dense(self) -> Tensor:
        """The base layer's weight [out, in]; of a 4-bit layer, made anew at each call and never kept."""
        weight: Any = self.base_layer.weight
        if weight.is_floating_point():
            return cast("Tensor", weight)
        from bitsandbytes.functional import dequantize_4bit

        return cast("Tensor", dequantize_4bit(weight.data, weight.quant_state))

    def holds(self, expert: str) -> bool:
        """Whether the expert adapts this layer."""
        return expert in self.lora_A

    def factors(self, expert: str) -> tuple[Tensor, Tensor]:
        """The expert's A [r, in] and B [out, r], live."""
        return cast("nn.Linear", self.lora_A[expert]).weight, cast("nn.Linear", self.lora_B[expert]).weight

    def scale(self, expert: str) -> float:
        """The expert's alpha / rank."""
        return float(self.scaling[expert])


def inject(model: nn.Module, expert: str, form: ExpertForm, kind: type[AdapterLinear]) -> None:
    """Give the form's layers of the model the expert's factors, as layers of `kind`; those of others stay."""
    config = LoraConfig(
        r=form.rank,
        lora_alpha=form.alpha,  # type: ignore[arg-type]  # peft takes any number
        target_modules=list(form.layers),
        lora_dropout=0.0,
        bias="none",
    )
    config._register_custom_module({nn.Linear: kind})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # a stack is what we want
        inject_adapter_in_model(config, model, adapter_name=expert)


def remove(model: nn.Module) -> None:
    """Take all experts off a model: its layers are the very ones that were there before."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, AdapterLinear):
                setattr(parent, name, child.base_layer)
    if hasattr(model, "peft_config"):
        del model.peft_config

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


def compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Make all of a loaded model compute in `dtype`, its 4-bit layers too.

    Beside 4-bit weights transformers leaves parameters as they were saved, and bitsandbytes computes in the type that the
    folder names; a base of two types would let patients share a pass of few bits (`client.training.batch.company`).
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    layers: list[Any] = [module for module in model.modules() if is_four_bit(module)]
    for layer in layers:
        layer.weight.quant_state.dtype = layer.compute_dtype = dtype
        layer.compute_type_is_set = True
        layer.support_avx512bf16_for_cpu = False  # it rounds the weights anew in a first answer


def is_four_bit(module: nn.Module) -> bool:
    """Whether a layer's weight is packed in 4 bits."""
    return getattr(getattr(module, "weight", None), "quant_state", None) is not None


class AdapterLinear(LoraLinear):
    """A linear layer with the LoRA factors of the experts that adapt it."""

    base_layer: nn.Linear

    @property
    def computes_in(self) -> torch.dtype:
        """The type of the base layer's products."""
        layer: Any = self.base_layer
        found: torch.dtype = layer.compute_dtype if is_four_bit(layer) else layer.weight.dtype
        return found

    def dense(self) -> Tensor:
        """The base layer's weight [out, in]; of a 4-bit layer, made anew at each call and never kept."""
        if not is_four_bit(self.base_layer):
            return self.base_layer.weight
        weight: Any = self.base_layer.weight
        from bitsandbytes.functional import dequantize_4bit

        dense: Tensor = dequantize_4bit(weight.data, weight.quant_state)
        return dense

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

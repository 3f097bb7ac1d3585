"""The slide projector: a two-layer GELU MLP with a residual, from a slide's pooled features to input
embeddings.

    y = x + W_out gelu(W_in x + b_in) + b_out

`W_in` is public and frozen, shipped with the base (or a deterministic function of the base's hash); `W_out`
and `b_out` start at what ships (zeros: the identity), belong to expert `scale/wsi`, train, are noised and
travel. So the projector is linear in what travels, as FFA-LoRA is: averaging over hospitals is exact, and
half the dimensions get noise.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from client.model.deterministic import uniform
from client.model.errors import BaseModelError
from client.model.expert_linear import RecordedLinear

HIDDEN = 64


class Projector(nn.Module):
    """x [N, T, width] -> y [N, T, width]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.out = RecordedLinear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens that the language model reads in place of a slide's features; float32, as its weights are."""
        x = x.float()
        return x + self.out(functional.gelu(self.inner(x)))

    @classmethod
    def load(cls, path: Path, width: int, base_hash: str) -> Projector:
        """The start that ships with the base; where none does, random `W_in` by `base_hash` and zero
        `W_out`.
        """
        if not path.is_file():
            projector = cls(width, HIDDEN)
            with torch.no_grad():
                bound = (3.0 / width) ** 0.5  # unit variance of W_in x for unit-variance x
                shape = (HIDDEN, width)
                projector.inner.weight.copy_(uniform(f"{base_hash}/projector", shape, bound))
                for parameter in (projector.inner.bias, projector.out.weight, projector.out.bias):
                    parameter.zero_()
            return projector
        try:
            state = load_file(path)
            projector = cls(width, state["inner.weight"].shape[0])
            projector.load_state_dict(state)
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise BaseModelError(f"{path.name} is not a projector of width {width}: {error}") from error
        return projector

"""The slide projector: a two-layer GELU MLP beside a direct way, from a slide's pooled features to input embeddings.

    y = D x + W_out gelu(W_in x + b_in) + b_out

`W_in` and `D` are public and frozen, shipped with the base (or a deterministic function of the base's hash; where
features are as wide as embeddings, D is the identity); `W_out` and `b_out` start at what ships (zeros), belong to
expert `scale/wsi`, train, are noised and travel. So the projector is linear in what travels, as FFA-LoRA is: averaging
over hospitals is exact, and half the dimensions get noise.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from client.model.errors import BaseModelError
from client.model.expert_linear import RecordedLinear
from privacy.public_start import uniform

HIDDEN = 64


class Projector(nn.Module):
    """x [N, T, features] -> y [N, T, width]."""

    def __init__(self, features: int, width: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(features, hidden)
        self.out = RecordedLinear(hidden, width)
        self.direct = nn.Identity() if features == width else nn.Linear(features, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens that the language model reads in place of a slide's features; float32, as its weights are."""
        x = x.float()
        return self.direct(x) + self.out(functional.gelu(self.inner(x)))

    @classmethod
    def load(cls, path: Path, features: int, width: int, base_hash: str) -> Projector:
        """The start that ships with the base; where none does, random `W_in` and `D` by `base_hash` and zero `W_out`."""
        if not path.is_file():
            return cls(features, width, HIDDEN)._public_start(base_hash)
        try:
            state = load_file(path)
            projector = cls(features, width, state["inner.weight"].shape[0])
            projector.load_state_dict(state)
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise BaseModelError(
                f"{path.name} is not a projector of {features} features to width {width}: {error}"
            ) from error
        return projector

    @torch.no_grad()
    def _public_start(self, base_hash: str) -> Projector:
        bound = (3.0 / self.inner.in_features) ** 0.5  # unit variance of W_in x and D x for unit-variance x
        shape = tuple(self.inner.weight.shape)
        self.inner.weight.copy_(torch.from_numpy(uniform(f"{base_hash}/projector", shape, bound)))
        for parameter in (self.inner.bias, self.out.weight, self.out.bias):
            parameter.zero_()
        if isinstance(self.direct, nn.Linear):
            direct = tuple(self.direct.weight.shape)
            self.direct.weight.copy_(
                torch.from_numpy(uniform(f"{base_hash}/projector.direct", direct, bound))
            )
        return self

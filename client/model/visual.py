"""What the language model sees of tissue: tokens of a region's image, or a slide's pooled features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from client.model.base import Base

IMAGES_A_PASS = 32


@dataclass(frozen=True)
class Visual:
    """Frozen visual tokens [T, width].

    A region: `grid` is (rows, columns) of what the base's architecture cuts it into, and `deepstack` holds one
    [T, width] for each of the decoder's first layers that takes some. A slide: `grid` is None, `deepstack` empty, and
    the projector stands between the features and the decoder.
    """

    tokens: Tensor
    deepstack: tuple[Tensor, ...] = ()
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2 or not len(self.tokens):
            raise ValueError(
                f"visual tokens have shape {tuple(self.tokens.shape)} and must be [T >= 1, width]"
            )

    @property
    def scale(self) -> str:
        """`roi` or `wsi`."""
        return "wsi" if self.grid is None else "roi"

    def to(self, device: torch.device) -> Visual:
        """The same on this device."""
        return Visual(self.tokens.to(device), tuple(t.to(device) for t in self.deepstack), self.grid)

    @property
    def nbytes(self) -> int:
        """Memory that the tokens take."""
        return sum(t.numel() * t.element_size() for t in (self.tokens, *self.deepstack))

    def to_tensors(self) -> dict[str, Tensor]:
        """For the cache."""
        layers = {f"deepstack.{i}": layer for i, layer in enumerate(self.deepstack)}
        return {"tokens": self.tokens, "grid": torch.tensor(self.grid or (), dtype=torch.int64), **layers}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Visual:
        """What `to_tensors` gave."""
        grid = tensors["grid"].tolist()
        deepstack = tuple(tensors[f"deepstack.{i}"] for i in range(len(tensors) - 2))
        return cls(tensors["tokens"], deepstack, (grid[0], grid[1]) if grid else None)


@torch.no_grad()
def encode_images(base: Base, images: Sequence[np.ndarray]) -> list[Visual]:
    """The frozen vision tower over images uint8 [H, W, 3] that the base's `fit` made; order kept."""
    return [
        visual
        for start in range(0, len(images), IMAGES_A_PASS)
        for visual in base.architecture.encode(images[start : start + IMAGES_A_PASS])
    ]

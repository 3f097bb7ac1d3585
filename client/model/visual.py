"""What the language model sees of tissue: tokens of a region's image, or a slide's pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from client.model.base import Base
from client.model.images import patchify

IMAGES_A_PASS = 32


@dataclass(frozen=True)
class Visual:
    """Frozen visual tokens [T, width].

    A region: `grid` is (rows, columns) of its tokens in row order, and `deepstack` holds one [T, width] for
    each of the decoder's first layers. A slide: `grid` is None, `deepstack` empty, and the projector stands
    between the features and the decoder.
    """

    tokens: Tensor
    deepstack: tuple[Tensor, ...] = ()
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2 or not len(self.tokens):
            raise ValueError(
                f"visual tokens have shape {tuple(self.tokens.shape)} and must be [T >= 1, width]"
            )
        if self.grid is not None and self.grid[0] * self.grid[1] != len(self.tokens):
            raise ValueError(f"a grid of {self.grid} has not {len(self.tokens)} tokens")

    @property
    def scale(self) -> str:
        """`roi` or `wsi`."""
        return "wsi" if self.grid is None else "roi"

    @property
    def nbytes(self) -> int:
        """Memory that the tokens take."""
        return sum(t.numel() * t.element_size() for t in (self.tokens, *self.deepstack))


@torch.no_grad()
def encode_images(base: Base, images: Sequence[np.ndarray]) -> list[Visual]:
    """The frozen vision tower over images uint8 [H, W, 3], sides multiples of the layout's factor; order
    kept.
    """
    visuals: list[Visual] = []
    for start in range(0, len(images), IMAGES_A_PASS):
        pixels, grids = patchify(images[start : start + IMAGES_A_PASS], base.patches)
        features = base.model.model.get_image_features(
            pixels.to(base.device), grids.to(base.device), return_dict=True
        )
        merge = base.patches.merge
        for i, (_, rows, columns) in enumerate(grids.tolist()):
            visuals.append(
                Visual(
                    features.pooler_output[i].clone(),
                    tuple(layer[i].clone() for layer in features.deepstack_features),
                    (rows // merge, columns // merge),
                )
            )
    return visuals

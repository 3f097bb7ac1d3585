"""What every family of base models offers. All else in FedPath is the same for all of them.

Shapes: P prompts, L tokens, `axes` numbers a position (1, or 3 for time, height and width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor
from transformers import DynamicCache

from client.model.visual import Visual

Grid = tuple[int, int] | None  # a region's `Visual.grid`; None: a slide


@dataclass(frozen=True)
class Size:
    """Of an image: patches that go through the vision tower, and visual tokens that come of them."""

    patches: int
    tokens: int


class Architecture(Protocol):
    """One loaded model, seen through its family. Stateless."""

    axes: int
    image_token: (
        str  # the text that the chat template writes for an image, and the token of each visual position
    )

    @property
    def language_model(self) -> Any:
        """The decoder that experts attach to (transformers leaves it untyped)."""
        ...

    def fit(self, image: np.ndarray, longest: int) -> np.ndarray:
        """uint8 [H, W, 3] as `encode` takes it, its longer side at most `longest` unless the base's own processor
        wants more. An image that fits already is returned unchanged."""
        ...

    def encode(self, images: Sequence[np.ndarray]) -> list[Visual]:
        """The frozen vision tower, and what leads from it into the decoder, over images that were made to fit; the
        numbers of the base's own image processor."""
        ...

    def largest(self, longest: int) -> Size:
        """The most that a region becomes whose longer side is at most `longest` pixels."""
        ...

    def placeholder(self, grid: Grid, count: int) -> str:
        """What the base's own processor writes in place of the template's one image token, for `count` visual
        tokens."""
        ...

    def positions(self, seen: Tensor, grid: Grid) -> tuple[Tensor, int]:
        """Positions int64 [axes, L] of a prompt whose visual tokens stand where `seen` [L] is true, and where the
        answer's first token stands on all axes."""
        ...

    def decode(
        self,
        embeds: Tensor,
        positions: Tensor,
        cache: DynamicCache,
        mask: Tensor | None = None,
        seen: Tensor | None = None,
        deepstack: Sequence[Tensor] = (),
    ) -> Tensor:
        """Hidden states [P, L, width] of embeds [P, L, width] at positions [axes, P, L] after what the cache holds;
        both grow into it. mask, bool [.., L, all]: what each position sees; None is causal. deepstack, at the
        positions `seen` [P, L], is added after the decoder's first layers."""
        ...

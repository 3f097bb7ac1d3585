"""Qwen2.5-VL and Qwen3-VL: one token a merged block of patches, positions of three axes (time, height, width)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from client.model.architectures.architecture import Grid, Size
from client.model.images import PatchLayout, fit, patchify
from client.model.visual import Visual


class QwenVL:
    """`client.model.architectures.architecture.Architecture` of both; Qwen3-VL alone has deepstack features."""

    axes = 3

    def __init__(self, model: Any, tokenizer: Any, processor: Mapping[str, Any]) -> None:
        self._model = model
        self.patches = PatchLayout.read(processor)
        self.image_token = str(tokenizer.convert_ids_to_tokens(model.config.image_token_id))

    @property
    def language_model(self) -> Any:
        """The decoder."""
        return self._model.model.language_model

    def fit(self, image: np.ndarray, longest: int) -> np.ndarray:
        """As the base's own processor resizes, after the longer side is brought to `longest`."""
        return fit(image, self.patches, longest)

    def largest(self, longest: int) -> Size:
        """Over all shapes: a thin image is made larger where the processor wants more pixels."""
        sides = range(1, longest + 1, max(1, self.patches.factor // 2))
        shapes = [self.patches.size(tall, wide) for tall in {*sides, longest} for wide in {*sides, longest}]
        pixels = max(self.patches.most_grown, *(rows * columns for rows, columns in shapes))
        patches = pixels // self.patches.patch**2
        return Size(patches, patches // self.patches.merge**2)

    def encode(self, images: Sequence[np.ndarray]) -> list[Visual]:
        """A region's grid is that of its tokens, in row order."""
        pixels, grids = patchify(images, self.patches)
        device, merge = self._model.device, self.patches.merge
        features = self._model.model.get_image_features(pixels.to(device), grids.to(device), return_dict=True)
        layers = getattr(features, "deepstack_features", ())
        return [
            Visual(
                features.pooler_output[i].clone(),
                tuple(layer[i].clone() for layer in layers),
                (rows // merge, columns // merge),
            )
            for i, (_, rows, columns) in enumerate(grids.tolist())
        ]

    def placeholder(self, grid: Grid, count: int) -> str:
        """One image token a visual token."""
        return self.image_token * count

    def positions(self, seen: Tensor, grid: Grid) -> tuple[Tensor, int]:
        """A region's tokens stand on its grid, and what follows after its longer side; a slide's stand as text."""
        count = len(seen)
        if grid is None:
            return torch.arange(count).expand(3, -1), count
        rows, columns = grid
        start = int(seen.int().argmax())
        cell = torch.arange(rows * columns)
        region = torch.stack([torch.zeros_like(cell), cell // columns, cell % columns]) + start
        after = start + max(rows, columns) + torch.arange(count - start - len(cell))
        before = torch.arange(start).expand(3, -1)
        return torch.cat([before, region, after.expand(3, -1)], dim=1), start + max(rows, columns) + len(
            after
        )

    def decode(
        self,
        embeds: Tensor,
        positions: Tensor,
        cache: DynamicCache,
        mask: Tensor | None = None,
        seen: Tensor | None = None,
        deepstack: Sequence[Tensor] = (),
    ) -> Tensor:
        """See `Architecture`."""
        deep = {"visual_pos_masks": seen, "deepstack_visual_embeds": list(deepstack)} if deepstack else {}
        hidden: Tensor = self.language_model(
            inputs_embeds=embeds,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **deep,
        ).last_hidden_state
        return hidden

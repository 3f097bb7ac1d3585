"""A frozen pathology encoder for the tiles of whole slides, where a base folder brings one: `slide_encoder/` in it.

It is an image model that transformers' `AutoModel` reads, with its own image processor (ViT and DINOv2 families: what
pathology encoders are published as). Without one, tiles go through the base's own vision tower.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

from client.model.errors import BaseModelError


class SlideEncoder:
    """Tiles -> one feature each: the model's pooled output, or its first token where the folder has no pooler's weights."""

    def __init__(self, model: Any, processor: Any, pools: bool) -> None:
        self.model, self._processor, self._pools = model, processor, pools
        self.width = int(model.config.hidden_size)

    @classmethod
    def load(cls, folder: Path, device: str, dtype: torch.dtype) -> SlideEncoder:
        """Load from a local folder; never asks the network. BaseModelError where it is no image model with its processor."""
        try:
            model, loaded = AutoModel.from_pretrained(
                folder, dtype=dtype, local_files_only=True, output_loading_info=True
            )
            processor = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
        except (OSError, ValueError) as error:
            raise BaseModelError(f"slide encoder {folder} can't be loaded: {error}") from error
        if model.main_input_name != "pixel_values" or not hasattr(model.config, "hidden_size"):
            raise BaseModelError(
                f"slide encoder {folder} is no model of images: give a ViT's or DINOv2's folder"
            )
        absent = set(loaded["missing_keys"])
        pooler = {name for name in absent if name.startswith("pooler.")}
        if absent - pooler:
            raise BaseModelError(
                f"slide encoder {folder}: {len(absent - pooler)} of its weights are not in it"
            )
        return cls(model.to(device).eval().requires_grad_(False), processor, pools=not pooler)

    @torch.no_grad()
    def encode(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Features [n, width], on the CPU, of pictures uint8 [H, W, 3]; all go through together."""
        if not pictures:
            return torch.empty(0, self.width, dtype=self.model.dtype)
        pixels = self._processor(list(pictures), return_tensors="pt")["pixel_values"]
        seen = self.model(pixel_values=pixels.to(self.model.device, self.model.dtype))
        pooled: Tensor | None = getattr(seen, "pooler_output", None) if self._pools else None
        return (seen.last_hidden_state[:, 0] if pooled is None else pooled).cpu()

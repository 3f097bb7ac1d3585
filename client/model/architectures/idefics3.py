"""Idefics3 and SmolVLM: an image is cut into square frames, each with its whole beside it, of equally many tokens.

The base's own processor says into how many (`preprocessor_config.json`: `size`, `max_image_size`,
`do_image_splitting`); it runs on Pillow alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import DynamicCache, Idefics3ImageProcessorPil, SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from client.model.architectures.architecture import Grid, Size
from client.model.errors import BaseModelError
from client.model.visual import Visual

_FAKE, _WHOLE = "<fake_token_around_image>", "<global-img>"


class Idefics3:
    """`client.model.architectures.architecture.Architecture` of both, which differ in their classes' names only."""

    axes = 1

    def __init__(self, model: Any, tokenizer: Any, processor: Mapping[str, Any]) -> None:
        self._model = model
        smol = model.config.model_type == "smolvlm"
        kind = SmolVLMImageProcessorPil if smol else Idefics3ImageProcessorPil
        try:
            self._processor = kind.from_dict(dict(processor))
        except (TypeError, ValueError) as error:
            raise BaseModelError(f"preprocessor_config.json: {error}") from error
        self.image_token = str(tokenizer.convert_ids_to_tokens(model.config.image_token_id))

    @property
    def language_model(self) -> Any:
        """The decoder."""
        return self._model.model.text_model

    def fit(self, image: np.ndarray, longest: int) -> np.ndarray:
        """Brought to `longest` where its longer side is more; the base's own processor resizes when it cuts."""
        height, width = image.shape[:2]
        shrink = longest / max(height, width)
        if shrink >= 1:
            return image
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))

    def largest(self, longest: int) -> Size:
        """A square's: the processor brings every image to one size before it cuts."""
        frames = self._processor([Image.new("RGB", (longest, longest))], return_tensors="pt")["pixel_values"]
        patches = frames.shape[1] * (frames.shape[-1] // self._model.config.vision_config.patch_size) ** 2
        return Size(patches, patches // self._model.config.scale_factor**2)

    def encode(self, images: Sequence[np.ndarray]) -> list[Visual]:
        """A region's grid is that of its frames; (0, 0) where it is not cut."""
        return [self._encode(image) for image in images]

    def _encode(self, image: np.ndarray) -> Visual:
        cut = self._processor([Image.fromarray(image)], return_tensors="pt", return_row_col_info=True)
        device = self._model.device
        features = self._model.model.get_image_features(
            cut["pixel_values"].to(device), cut["pixel_attention_mask"].to(device), return_dict=True
        )
        return Visual(features.pooler_output[0].clone(), (), (cut["rows"][0][0], cut["cols"][0][0]))

    def placeholder(self, grid: Grid, count: int) -> str:
        """Frames row by row, then the whole; a slide's tokens stand as those of an image that is not cut."""
        rows, columns = grid or (0, 0)
        each = count // (rows * columns + 1)
        return str(get_image_prompt_string(rows, columns, each, _FAKE, self.image_token, _WHOLE))

    def positions(self, seen: Tensor, grid: Grid) -> tuple[Tensor, int]:
        """One after another."""
        return torch.arange(len(seen))[None], len(seen)

    def decode(
        self,
        embeds: Tensor,
        positions: Tensor,
        cache: DynamicCache,
        mask: Tensor | None = None,
        seen: Tensor | None = None,
        deepstack: Sequence[Tensor] = (),
    ) -> Tensor:
        """See `Architecture`; there is no deepstack."""
        hidden: Tensor = self.language_model(
            inputs_embeds=embeds,
            position_ids=positions[0],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return hidden

"""Pixels to the patches that the Qwen-VL vision towers take, without torchvision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from client.model.errors import BaseModelError

_LONGEST_SHAPE = 200


@dataclass(frozen=True)
class PatchLayout:
    """How images are cut: sizes in pixels (patch), frames (temporal) and patches (merge); per-channel mean
    and std; the fewest and the most pixels that an image is resized to.
    """

    patch: int
    temporal: int
    merge: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fewest: int
    most: int

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> PatchLayout:
        """From a `preprocessor_config.json`; BaseModelError names what is missing. `size` has a default, as in
        transformers.
        """
        size = config.get("size") or Qwen2VLImageProcessorPil.size
        try:
            mean, std = (_triple(config[key]) for key in ("image_mean", "image_std"))
            layout = cls(
                int(config["patch_size"]),
                int(config["temporal_patch_size"]),
                int(config["merge_size"]),
                mean,
                std,
                int(config.get("min_pixels") or size["shortest_edge"]),
                int(config.get("max_pixels") or size["longest_edge"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BaseModelError(f"preprocessor_config.json: {error} is missing or not a number") from error
        if min(layout.patch, layout.temporal, layout.merge, layout.fewest) < 1 or min(std) <= 0:
            raise BaseModelError("preprocessor_config.json: sizes are at least 1 and image_std above 0")
        return layout

    @property
    def factor(self) -> int:
        """An image's sides are multiples of this many pixels: one merged visual token."""
        return self.patch * self.merge

    def size(self, tall: float, wide: float) -> tuple[int, int]:
        """Height and width that transformers' own processor resizes an image of these sides to; a thinner one than
        it takes is taken as 200:1.
        """
        thinnest = max(tall, wide) / _LONGEST_SHAPE
        sides: tuple[Any, Any] = (
            max(tall, thinnest),
            max(wide, thinnest),
        )  # whole or not, which it does not mind
        rows, columns = smart_resize(*sides, self.factor, self.fewest, self.most)
        return rows, columns

    @property
    def most_grown(self) -> int:
        """The most pixels of an image that was smaller than `fewest`, over all shapes: each side is rounded up, so that
        the columns that it gets leave it less than `fewest` / (columns - 1) rows.
        """
        most = 0
        for columns in range(1, math.ceil(math.sqrt(self.fewest) / self.factor) + 1):
            tall = math.sqrt(self.fewest * _LONGEST_SHAPE)
            if columns > 1:
                tall = min(tall, self.fewest / ((columns - 1) * self.factor))
            most = max(most, columns * math.ceil(tall / self.factor))
        return most * self.factor**2


def fit(image: np.ndarray, layout: PatchLayout, longest: int) -> np.ndarray:
    """uint8 [H, W, 3] resized as transformers' own processor would, once the longer side is at most `longest`: both
    sides multiples of `factor`, the pixels in all between `fewest` and `most`.

    An image that fits already is returned unchanged. Coordinates relative to the image's sides stay true.
    """
    height, width = image.shape[:2]
    shrink = min(1.0, longest / max(height, width))
    rows, columns = layout.size(height * shrink, width * shrink)
    if (rows, columns) == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC))


def patchify(images: Sequence[np.ndarray], layout: PatchLayout) -> tuple[Tensor, Tensor]:
    """Images uint8 [H, W, 3] (sides multiples of `factor`) -> (pixel_values [patches, C*t*p*p], grid_thw
    [images, 3]).

    Same numbers and order as transformers' Qwen2-VL image processor: merge blocks of patches lie together.
    """
    p, m = layout.patch, layout.merge
    mean = np.asarray(layout.mean, dtype=np.float32)
    std = np.asarray(layout.std, dtype=np.float32)
    patches, grids = [], []
    for image in images:
        rows, columns = image.shape[0] // p, image.shape[1] // p
        x = (image.astype(np.float32) / 255.0 - mean) / std
        x = x.reshape(rows // m, m, p, columns // m, m, p, 3).transpose(
            0, 3, 1, 4, 6, 2, 5
        )  # gh gw m m C p p
        x = np.repeat(x[:, :, :, :, :, None], layout.temporal, axis=5)  # a still image fills all its frames
        patches.append(x.reshape(rows * columns, -1))
        grids.append((1, rows, columns))
    return torch.from_numpy(np.concatenate(patches)), torch.tensor(grids, dtype=torch.long)


def _triple(values: Sequence[Any]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)

"""A promptable segmenter, where a hospital has one: boxes in an image -> masks.

The plug-in for segmentation answers that give boxes. SAM's weights, and MedSAM's, load from a local folder; the
project ships none. docs/howto/segmenter.md says how to have one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.utils.logging import disable_progress_bar

from client.errors import ClientError, told_of
from client.slides.openings import Openings
from client.slides.slide import Slide
from client.tasks import segmentation
from client.tasks.overlap import MASK_SIDE
from client.tasks.sample import FRAME, Box, Region, Sample

_HELD = 32  # images whose encoding is kept: about 4 MiB each
_LONGEST = 1024  # pixels of an image's longer side


class SegmenterError(ClientError):
    """A segmenter's folder that can't serve; the message says why."""


class Look(Protocol):
    """One image as a segmenter has seen it."""

    def masks(self, boxes: Sequence[Box]) -> NDArray[np.bool_]:
        """What each box marks, [N, H, W] in the image's pixels; each box is judged by itself."""
        ...


class Segmenter(Protocol):
    """Turns boxes into masks. The image is looked at once, however many boxes are asked about."""

    def look(self, image: NDArray[np.uint8]) -> Look:
        """See an RGB image [H, W, 3]."""
        ...


class SamSegmenter:
    """SAM or MedSAM (ViT encoder, box prompts, one mask a box), on transformers' own model and processor."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> SamSegmenter:
        """Load from a local folder, in float32; never asks the network. Raises SegmenterError."""
        disable_progress_bar()  # of reading weights, which takes a moment
        read: Any = SamModel.from_pretrained
        try:
            model, loaded = read(folder, local_files_only=True, dtype=torch.float32, output_loading_info=True)
            processor = SamImageProcessorPil.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise _unfit(folder, str(error)) from None
        if absent := len(loaded["missing_keys"]):
            raise _unfit(folder, f"{absent} of SAM's tensors are not in it")
        return cls(model.to(device).eval().requires_grad_(False), processor)

    @property
    def working_bytes(self) -> int:
        """At most: the encodings that are kept, and a pass of the encoder, whose global attention needs most."""
        vision = self.model.config.vision_config
        tokens = (vision.image_size // vision.patch_size) ** 2
        kept = _HELD * vision.output_channels * tokens
        attention = 3 * vision.num_attention_heads * tokens**2
        layer = tokens * (8 * vision.hidden_size + 2 * vision.mlp_dim)
        return 4 * int(kept + attention + layer)

    @torch.no_grad()
    def look(self, image: NDArray[np.uint8]) -> Look:
        """Resize, pad and encode the image."""
        seen = self.processor(image, return_tensors="pt")
        embedding = self.model.get_image_embeddings(seen["pixel_values"].to(self.model.device))
        rows, columns = seen["reshaped_input_sizes"][0].tolist()
        return _SamLook(self, embedding, image.shape[:2], (rows, columns))


def _unfit(folder: Path, why: str) -> SegmenterError:
    advice = "give a folder that transformers' SamModel and its processor wrote"
    return SegmenterError(f"segmenter folder {folder} can't be loaded: {why}; {advice}")


@dataclass(frozen=True)
class _SamLook:
    """An encoded image: its size, and its size as the encoder saw it before padding, in pixels."""

    sam: SamSegmenter
    embedding: Tensor
    size: tuple[int, int]
    resized: tuple[int, int]

    @torch.no_grad()
    def masks(self, boxes: Sequence[Box]) -> NDArray[np.bool_]:
        """As `Look.masks`."""
        if not boxes:
            return np.zeros((0, *self.size), dtype=np.bool_)
        rows, columns = (side / FRAME for side in self.resized)
        corners = [[b.x1 * columns, b.y1 * rows, b.x2 * columns, b.y2 * rows] for b in boxes]
        found = self.sam.model(
            image_embeddings=self.embedding,
            input_boxes=torch.tensor([corners], device=self.embedding.device),
            multimask_output=False,
        )
        (masks,) = self.sam.processor.post_process_masks(found.pred_masks.cpu(), [self.size], [self.resized])
        drawn: NDArray[np.bool_] = masks[:, 0].numpy()
        return drawn


class RegionMasks:
    """The masks that boxes mark in regions of slides, on the grid that Dice is measured on.

    What a segmenter sees is the region at its own resolution, at most 1,024 pixels along the longer side.
    """

    def __init__(self, segmenter: Segmenter, slides: Mapping[str, Slide]) -> None:
        self._segmenter, self._slides = segmenter, slides
        self._held: OrderedDict[tuple[str, Region], Look] = OrderedDict()
        self._openings = Openings()

    def __call__(self, sample: Sample, boxes: Sequence[Box]) -> NDArray[np.bool_]:
        """The union of the boxes' masks in the sample's region, [MASK_SIDE, MASK_SIDE].

        Raises SlideError where the slide can't be read any more.
        """
        if sample.region is None:
            raise ValueError(f"sample of slide {sample.slide} has no region to segment")
        masks = self._look(sample.slide, sample.region).masks(boxes)
        centres = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
        rows, columns = ((centres * side).astype(np.int64) for side in masks.shape[1:])
        return np.asarray(masks.any(axis=0))[np.ix_(rows, columns)]

    def _look(self, slide: str, region: Region) -> Look:
        key = slide, region
        if key not in self._held:
            self._held[key] = self._segmenter.look(self._read(self._slides[slide], region))
            if len(self._held) > _HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]

    def _read(self, slide: Slide, region: Region) -> NDArray[np.uint8]:
        mpp = slide.mpp * max(1.0, max(region.width, region.height) / _LONGEST)
        with told_of(slide.name), self._openings.open(slide) as reader:
            return reader.read(region.x, region.y, region.width, region.height, mpp)


def use_segmenter(folder: Path | None, slides: Mapping[str, Slide], device: str) -> int:
    """From now on, in this process, a box in a segmentation answer covers what the segmenter finds in it; itself alone
    where there is none (`folder` None).

    Returns the bytes of the device that it works in, beside its weights. Raises SegmenterError.
    """
    if folder is None:
        segmentation.TASK.box_masks = None
        return 0
    segmenter = SamSegmenter.load(folder, device)
    segmentation.TASK.box_masks = RegionMasks(segmenter, slides)
    return segmenter.working_bytes

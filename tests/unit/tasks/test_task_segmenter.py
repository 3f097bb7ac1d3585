"""The segmenter plug-in, on a SAM of random weights: boxes become the masks that transformers' own way gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.sam.processing_sam import SamProcessor

from client.selftest.patients import write_slides
from client.slides.index import index_slides
from client.slides.slide import open_slide
from client.tasks.overlap import MASK_SIDE, mask
from client.tasks.registry import TASKS
from client.tasks.sample import Box, Polygon, Polygons, Region, Sample, Text
from client.tasks.segmentation import Segmentation
from client.tasks.segmenter import Look, RegionMasks, SamSegmenter, SegmenterError
from tests.tiny_sam import write_tiny_sam

BOXES = (Box(100, 200, 500, 900), Box(0, 0, 1000, 1000), Box(700, 100, 710, 110))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam(tmp_path_factory.mktemp("sam"))


def picture(height: int, width: int, seed: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (40, 100), (100, 40), (33, 7)])
def test_masks_are_those_of_transformers_own_way(folder: Path, size: tuple[int, int]) -> None:
    """Catches boxes in another frame, height taken for width, padding read as image, and several masks a box:
    processor, model and post-processing from end to end give the same pixels."""
    image = picture(*size)
    found = SamSegmenter.load(folder).look(image).masks(BOXES)
    model: SamModel = SamModel.from_pretrained(folder).eval()
    processor = SamProcessor(SamImageProcessorPil.from_pretrained(folder))
    height, width = size
    corners = [
        [b.x1 * width / 1000, b.y1 * height / 1000, b.x2 * width / 1000, b.y2 * height / 1000] for b in BOXES
    ]
    inputs = processor(images=image, input_boxes=[corners], return_tensors="pt")
    with torch.no_grad():
        out = model(
            pixel_values=inputs["pixel_values"],
            input_boxes=inputs["input_boxes"].float(),
            multimask_output=False,
        )
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    (expected,) = processor.image_processor.post_process_masks(out.pred_masks, *sizes)
    assert found.shape == (3, *size)
    np.testing.assert_array_equal(found, expected[:, 0].numpy())


def test_each_box_is_judged_by_itself(folder: Path) -> None:
    """Catches a mask that depends on which other boxes an answer gives, and an answer without boxes that fails."""
    look = SamSegmenter.load(folder).look(picture(48, 64))
    together = look.masks(BOXES)
    for number, box in enumerate(BOXES):
        assert (look.masks([box])[0] == together[number]).mean() > 0.999  # up to rounding at a threshold
    assert look.masks([]).shape == (0, 48, 64)


def test_a_folder_of_something_else_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    """Catches a library's own exception, or a question to a hub, where the folder is wrong."""
    for wrong in (tmp_path, tmp_path / "gone", tiny_base):
        with pytest.raises(SegmenterError, match="SamModel"):
            SamSegmenter.load(wrong)


class Bright:
    """A segmenter that can be worked by hand: of a box it keeps the pixels whose red is above 127."""

    def __init__(self) -> None:
        self.looks = 0

    def look(self, image: NDArray[np.uint8]) -> Look:
        self.looks += 1
        return _BrightLook(image)


class _BrightLook:
    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._image = image

    def masks(self, boxes: Sequence[Box]) -> NDArray[np.bool_]:
        height, width = self._image.shape[:2]
        found = np.zeros((len(boxes), height, width), dtype=np.bool_)
        for number, b in enumerate(boxes):
            rows = slice(b.y1 * height // 1000, b.y2 * height // 1000)
            columns = slice(b.x1 * width // 1000, b.x2 * width // 1000)
            found[number, rows, columns] = self._image[rows, columns, 0] > 127
        return found


def test_region_masks_are_of_the_samples_own_region(tmp_path: Path) -> None:
    """Catches a mask of the whole slide, of another region, or turned; and an image encoded for each rollout."""
    write_slides(tmp_path, [Sample("p", "a.tif", Region(0, 0, 9, 9), "vqa", "?", Text("yes"))])
    slides = index_slides(tmp_path).slides
    segmenter = Bright()
    masks = RegionMasks(segmenter, slides)
    region = Region(64, 32, 128, 64)  # twice as wide as high; the picture's blocks are 16 pixels
    sample = Sample("p", "a.tif", region, "segmentation", "Where?", Polygons(()))
    found = masks(sample, [Box(0, 0, 500, 1000)])
    assert masks(sample, []).sum() == 0
    assert segmenter.looks == 1
    with open_slide(slides["a.tif"].path) as reader:
        red = reader.read(64, 32, 128, 64, slides["a.tif"].mpp)[..., 0] > 127
    rows, columns = ((np.arange(MASK_SIDE) + 0.5) / MASK_SIDE * side for side in (64, 128))
    expected = red[np.ix_(rows.astype(int), columns.astype(int))]
    np.testing.assert_array_equal(found[:, : MASK_SIDE // 2], expected[:, : MASK_SIDE // 2])
    assert not found[:, MASK_SIDE // 2 :].any()
    assert found.any()
    masks(Sample("p", "a.tif", Region(0, 0, 64, 64), "segmentation", "?", Polygons(())), [])
    assert segmenter.looks == 2
    with pytest.raises(ValueError, match="no region"):
        masks(Sample("p", "a.tif", None, "vqa", "?", Text("yes")), [])


def test_a_segmenter_makes_boxes_worth_what_they_find() -> None:
    """Catches a plug-in that is not asked, asked about outlines too, or that changes the boxes' half of the reward."""
    triangle = Polygon(((0, 0), (800, 0), (800, 800)))
    sample = Sample("p", "s", Region(0, 0, 9, 9), "segmentation", "Where?", Polygons((triangle,)))
    asked: list[int] = []

    def exact(sample: Sample, boxes: Sequence[Box]) -> NDArray[np.bool_]:
        asked.append(len(boxes))
        return mask([triangle])

    box, poly = "<bbox>[0,0,800,800]</bbox>", "<poly>[0,0,800,0,800,800]</poly>"
    plain, helped = Segmentation(), Segmentation(exact)
    assert plain.reward(box, sample) == pytest.approx((1 + 2 / 3) / 2, abs=0.01)
    assert (helped.reward(box, sample), helped.score([(box, sample)])) == (1, [1])
    assert asked == [1, 1]
    assert (helped.reward(poly, sample), helped.reward("none", sample), asked) == (1, 0, [1, 1])
    assert helped.reward(f"{poly}{box}", sample) == pytest.approx((1 / 2 + 1) / 2)
    assert TASKS["segmentation"].reward(box, sample) == plain.reward(box, sample)

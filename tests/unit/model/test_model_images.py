from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from client.model.errors import BaseModelError
from client.model.images import PatchLayout, fit, patchify

LAYOUT = PatchLayout(16, 2, 2, (0.5, 0.4, 0.3), (0.5, 0.25, 0.3), 1024, 128 * 128)


def test_patches_equal_those_of_transformers_own_processor() -> None:
    """Would catch a wrong patch order, channel order, frame order or normalisation."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, shape, dtype=np.uint8) for shape in ((64, 96, 3), (128, 32, 3))]
    processor = Qwen2VLImageProcessorPil(
        do_resize=False,
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=list(LAYOUT.mean),
        image_std=list(LAYOUT.std),
    )
    theirs = processor([Image.fromarray(image) for image in images], return_tensors="pt")
    pixels, grids = patchify(images, LAYOUT)
    torch.testing.assert_close(pixels, theirs["pixel_values"].float(), atol=1e-5, rtol=1e-5)
    assert grids.tolist() == theirs["image_grid_thw"].tolist()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((128, 128), (128, 128)),
        ((128, 64), (128, 64)),
        ((10, 128), (32, 128)),
        ((5, 5), (32, 32)),
        ((300, 150), (128, 64)),
        ((127, 129), (128, 128)),
    ],
)
def test_fitted_sides_are_whole_tokens_within_the_limit(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    """Would catch sides that are no multiple of a token, an image grown past the limit, or swapped sides."""
    image = np.full((*shape, 3), 200, np.uint8)
    assert fit(image, LAYOUT, 128).shape == (*expected, 3)


def test_an_image_that_fits_is_not_resampled() -> None:
    """Would catch a needless resize that blurs every region."""
    image = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    assert fit(image, LAYOUT, 128) is image


@pytest.mark.parametrize(
    "broken", [{"patch_size": "x"}, {"image_mean": [0.5]}, {"image_std": [0.5, 0.5, 0]}, {"merge_size": 0}]
)
def test_a_broken_preprocessor_config_is_refused(broken: dict[str, object]) -> None:
    """Would catch a wrong base folder that fails only at the first image."""
    good = {
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    PatchLayout.read(good)
    with pytest.raises(BaseModelError, match="preprocessor_config"):
        PatchLayout.read(good | broken)


@pytest.mark.parametrize(("patch", "fewest"), [(14, 56 * 56), (16, 65536), (14, 448 * 448), (4, 64)])
def test_no_small_image_grows_beyond_the_bound_and_some_reach_it(patch: int, fewest: int) -> None:
    """Catches a bound of square images: a thin one, every side of which is rounded up, gets seven times as many pixels."""
    layout = replace(LAYOUT, patch=patch, fewest=fewest, most=10**7)
    grown = 0
    for ratio in np.geomspace(1, 200, 4000):
        wide = (fewest / 2 / ratio) ** 0.5
        rows, columns = layout.size(wide * ratio, wide)
        grown = max(grown, rows * columns)
    assert layout.most_grown == grown

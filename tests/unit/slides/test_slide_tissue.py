"""The tissue mask on drawn slides whose tissue is known, with what misleads a mask, and on both real slides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.slides.slide import open_slide
from client.slides.tissue import MASK_MPP, glass_colour, overview, tissue_mask
from tests.tissue_cases import CASES, Case, penned, plain, score

SEEDS = (7, 8)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tissue_is_found_and_what_misleads_is_not_taken(case: Case) -> None:
    """Would catch a mask that takes pens, dirt, tinted or grey glass or a scanner's fill for tissue, or that loses
    tissue that is faint, fat, brown, thin or all that there is."""
    for seed in SEEDS:
        found = score(case.draw(np.random.default_rng(seed)), tissue_mask)
        assert found.recall >= case.recall, found
        assert found.taken <= case.taken, found


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((1.0, 0.66, 0.16), "blue"),
        ((1.1, 0.32, 0.52), "green"),
        ((0.07, 1.0, 0.72), "red"),
        ((1.1,) * 3, "black"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pens_are_told_as_ink_and_tissue_is_not(colour: tuple[float, float, float], name: str) -> None:
    """Would catch pens that are only lost by chance, and stain that is shown to a person as ink."""
    picture = penned(colour)(np.random.default_rng(3))
    inked, clean = overview(picture.rgb), overview(plain()(np.random.default_rng(3)).rgb)
    assert clean.ink.sum() == 0
    assert 0.04 < inked.ink.mean() < 0.2, name
    assert not (inked.ink & inked.tissue).any()
    assert (inked.ink & picture.tissue).sum() < 0.02 * picture.tissue.sum()


def test_a_hole_is_tissue_when_small_and_never_at_the_edge() -> None:
    """Would catch a torn piece counted whole, and a bay at the picture's edge that is filled as a hole."""
    image = np.full((200, 200, 3), 244, np.uint8)
    image[20:180, :150] = (214, 140, 190)
    image[60:64, 60:64] = 244
    image[90:140, 60:110] = 244
    image[80:100, 0:12] = 244
    mask = tissue_mask(image)
    assert mask[60:64, 60:64].all()
    assert not mask[100:130, 70:100].any()
    assert not mask[85:95, 0:3].any()


@pytest.mark.parametrize("glass", [(243, 243, 243), (190, 188, 186), (240, 236, 214), (222, 225, 217)])
def test_the_colour_of_glass_is_found(glass: tuple[int, int, int]) -> None:
    """Would catch glass taken from pale tissue, from a scanner's white fill or from shadows."""
    rgb = plain(strength=0.3, glass=glass)(np.random.default_rng(1)).rgb.copy()
    rgb[:150] = 255
    rgb[400:420] = np.asarray(glass) // 2
    assert np.abs(glass_colour(rgb) - glass).max() <= 3


def test_tissue_without_glass_is_all_tissue() -> None:
    """Would catch pale pink taken for the colour of glass."""
    assert tissue_mask(np.full((60, 60, 3), (236, 214, 231), np.uint8)).all()


SHARES = {"CMU-1-Small-Region.svs": (None, 0.410), "tcga-cr-7395-01a-01-ts1.svs": (0.25, 0.657)}


@pytest.mark.parametrize("name", SHARES)
def test_the_share_of_tissue_on_real_slides(shared_slides: Path, name: str) -> None:
    """Would catch a mask that suits drawings alone: the shares are of masks that were looked at (docs/tissue.md)."""
    mpp, share = SHARES[name]
    with open_slide(shared_slides / name, mpp) as reader:
        whole = reader.read(0, 0, reader.slide.width, reader.slide.height, MASK_MPP)
    seen = overview(whole)
    assert seen.tissue.mean() == pytest.approx(share, abs=0.02)
    assert seen.ink.mean() < 0.002

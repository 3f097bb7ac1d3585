"""Tissue told from glass, tiles cut on a grid, and the one way in which pixels change scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.slides.area import area_average
from client.slides.slide import open_slide
from client.slides.tiles import Tile, tissue_tiles
from client.slides.tissue import tissue_mask
from tests.aperio import write_slide

GLASS, EOSIN = (244, 243, 245), (214, 140, 190)


def blob(height: int, width: int, rows: slice, columns: slice, seed: int = 0) -> np.ndarray:
    """Glass with one patch of eosin, both a little noisy."""
    image = np.full((height, width, 3), GLASS, np.float64)
    image[rows, columns] = EOSIN
    noise = np.random.default_rng(seed).normal(0, 2, (height, width, 3))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_stain_is_tissue_and_glass_is_not() -> None:
    """Would catch a mask that is inverted, shifted or led by noise."""
    mask = tissue_mask(blob(80, 120, slice(20, 60), slice(30, 90)))
    truth = np.zeros((80, 120), bool)
    truth[20:60, 30:90] = True
    assert (mask != truth).mean() < 0.02


def test_a_blank_slide_has_no_tissue_and_a_full_one_is_all_tissue() -> None:
    """Would catch Otsu cutting one even field in two."""
    assert tissue_mask(blob(60, 60, slice(0, 0), slice(0, 0))).sum() == 0
    assert tissue_mask(blob(60, 60, slice(0, 60), slice(0, 60))).mean() > 0.98


def test_black_ink_is_no_tissue() -> None:
    """Would catch pen marks and slide borders taken for tissue."""
    image = blob(60, 60, slice(0, 0), slice(0, 0))
    image[10:30, 10:30] = (25, 5, 3)
    assert tissue_mask(image).sum() == 0


def test_tiles_are_the_grid_squares_with_tissue(tmp_path: Path) -> None:
    """Would catch tiles at a wrong scale, off the grid, in another order, or of glass."""
    image = blob(512, 768, slice(128, 384), slice(256, 640))
    with open_slide(write_slide(tmp_path / "a.svs", image, mpp=1.0)) as reader:
        tiles = tissue_tiles(reader, mpp=2.0, pixels=64)
        assert tiles == tissue_tiles(reader, mpp=2.0, pixels=64)
    assert tiles == [Tile(x, y, 128, 128) for y in (128, 256) for x in (256, 384, 512)]


def test_a_tile_counts_what_lies_past_the_edge_as_glass(tmp_path: Path) -> None:
    """Would catch an edge tile that is nearly all white and yet is taken: 20 of its 128 columns are slide."""
    image = blob(256, 256 + 20, slice(0, 256), slice(0, 276))
    with open_slide(write_slide(tmp_path / "a.svs", image, mpp=1.0, downsamples=())) as reader:
        tiles = tissue_tiles(reader, mpp=1.0, pixels=128)
    assert {tile.x for tile in tiles} == {0, 128}


@pytest.mark.parametrize("size", [(90, 70), (300, 300)])
def test_a_blank_or_tiny_slide_still_gives_one_tile(tmp_path: Path, size: tuple[int, int]) -> None:
    """Would catch a slide that silently has no input for the model."""
    image = blob(*size, slice(0, 0), slice(0, 0))
    with open_slide(write_slide(tmp_path / "a.svs", image, mpp=1.0, downsamples=())) as reader:
        assert len(tissue_tiles(reader, mpp=1.0, pixels=128)) == 1


@pytest.mark.parametrize("step", [1.0, 2.0, 2.5, 3.7, 0.4])
def test_area_average_is_the_integral(step: float) -> None:
    """Would catch nearest or bilinear sampling and a half-pixel shift: compared with an eighth-of-a-pixel
    sum."""
    fine, shape = 40, (4, 6)
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    origin = (0.5, 1.25)
    averaged = area_average(image, origin, (step, step), shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            ys = (origin[0] + step * (i + (np.arange(fine) + 0.5) / fine)).astype(int)
            xs = (origin[1] + step * (j + (np.arange(fine) + 0.5) / fine)).astype(int)
            truth = image[np.ix_(ys, xs)].astype(float).mean(axis=(0, 1))
            assert np.abs(averaged[i, j] - truth).max() <= 255 * 2.2 / fine / step + 0.51


def test_an_even_picture_stays_even_at_any_scale() -> None:
    """Would catch weights that do not sum to one."""
    image = np.full((37, 53, 3), 201, np.uint8)
    assert (area_average(image, (0.3, 0.7), (1.9, 2.3), (18, 22)) == 201).all()

"""A tile that is read is the crop of any larger read: at level 0 to the pixel, and at every whole factor where the output's
pixels lie the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.slides.slide import SlideReader, open_slide
from client.slides.tile_cache import TileCache
from tests.tiled_slides import RGB, Form, texture, write_tiled

# The sides of what OpenSlide reads are even: else it draws the second level between pixels, by where a read begins.
DRAWN = {
    "tiles": (Form(chroma="420", tile=(48, 96)), (1, 2, 4), (379, 257)),
    "level-by-fours": (Form(photometric=RGB), (1, 4), (379, 257)),
    "openslide": (Form("deflate", RGB), (1, 2), (380, 256)),
}
REAL = {"CMU-1-Small-Region.svs": None, "tcga-cr-7395-01a-01-ts1.svs": 0.5}
CACHE = TileCache(1 << 20)  # a few tiles: their memory serves others while reads go on


@pytest.fixture(scope="module", params=[*DRAWN, *REAL])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlideReader]:
    if request.param in REAL:
        path = _shared() / request.param
        if not path.is_file():
            pytest.skip(
                f"no real slides here ({path.parent}); set FEDPATH_SHARED to the folder that holds `slides`"
            )
        opened = open_slide(path, REAL[request.param], CACHE)
    else:
        form, factors, size = DRAWN[request.param]
        path = write_tiled(tmp_path_factory.mktemp("drawn") / "a.tif", texture(*size), form, factors)
        opened = open_slide(path, cache=CACHE)
    with opened:
        yield opened


def _shared() -> Path:
    beside = Path(__file__).parents[3].parent / "shared"
    return Path(os.environ.get("FEDPATH_SHARED", beside)) / "slides"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from([1, 2, 3, 4, 6, 8]), st.data())
def test_a_tile_is_the_crop_of_a_larger_read(reader: SlideReader, factor: int, data: st.DataObject) -> None:
    """Would catch seams between tiles, a pixel's value that depends on who is read beside it, a shift by rounding, and
    glass beyond the edge that is not white in one of them."""
    slide = reader.slide
    mpp = factor * slide.mpp
    x0, y0 = (
        data.draw(st.integers(-40, side // factor - 5)) * factor for side in (slide.width, slide.height)
    )
    columns, rows = data.draw(st.integers(2, 160)), data.draw(st.integers(2, 160))
    whole = reader.read(x0, y0, columns * factor, rows * factor, mpp)
    assert whole.shape == (rows, columns, 3)
    left, top = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    wide, high = data.draw(st.integers(1, columns - left)), data.draw(st.integers(1, rows - top))
    part = reader.read(x0 + left * factor, y0 + top * factor, wide * factor, high * factor, mpp)
    np.testing.assert_array_equal(part, whole[top : top + high, left : left + wide])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_a_coarse_read_is_the_mean_of_the_level_that_serves_it(
    reader: SlideReader, data: st.DataObject
) -> None:
    """Would catch a level read at another's place, and a coarse pixel that is anything but the mean of the fine ones."""
    slide = reader.slide
    level = data.draw(st.integers(0, len(slide.downsamples) - 1))
    serves = round(slide.downsamples[level])
    finer = [round(d) // serves - 1 for d in slide.downsamples[level + 1 : level + 2]] or [5]
    if finer[0] < 2:
        return  # the next level serves every coarser read
    step = data.draw(st.integers(2, finer[0]))
    factor = serves * step
    x, y = (data.draw(st.integers(-1, side // factor)) * factor for side in (slide.width, slide.height))
    coarse = reader.read(x, y, 8 * factor, 8 * factor, factor * slide.mpp).astype(int)
    fine = reader.read(x, y, 8 * factor, 8 * factor, serves * slide.mpp).astype(int)
    sums = fine.reshape(8, step, 8, step, 3).sum(axis=(1, 3))
    assert (2 * np.abs(coarse * step**2 - sums) <= step**2).all()

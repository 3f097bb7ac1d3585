"""Opening slides and reading them at a physical scale, on files written here and, where there, on real
ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest

from client.slides import slide as slide_module
from client.slides.slide import Slide, open_slide
from tests.aperio import IDENTIFIERS, picture, write_slide

WIDTH, HEIGHT = 512, 256  # whole tiles at every level: JPEG rings where a tile is padded
JPEG_ERROR = 6.0  # mean over an area; single pixels at tile edges ring more


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_slide(tmp_path / "north-17.svs", picture(WIDTH, HEIGHT))


def expected(x: int, y: int, width: int, height: int, rows: int, columns: int) -> np.ndarray:
    """The area average of `picture` from its formula: it is linear, so the mean is the value at the
    centre."""
    centres_x = x + (np.arange(columns) + 0.5) * width / columns - 0.5
    centres_y = y + (np.arange(rows) + 0.5) * height / rows - 0.5
    red, green = np.meshgrid(255 * centres_x / (WIDTH - 1), 255 * centres_y / (HEIGHT - 1))
    return np.stack([red, green, np.full_like(red, 60)], axis=2)


def test_the_slide_written_here_is_a_real_aperio_slide(path: Path) -> None:
    """Would catch a test file that our reader alone accepts, or one without anything to leak."""
    with openslide.OpenSlide(path) as handle:
        assert handle.properties["openslide.vendor"] == "aperio"
        assert {"label", "macro", "thumbnail"} <= set(handle.associated_images)
        assert all(any(word in value for value in handle.properties.values()) for word in IDENTIFIERS)


def test_a_slide_keeps_its_scale_and_no_identifier(path: Path) -> None:
    """Would catch a field through which the file's own texts travel on."""
    with open_slide(path) as reader:
        slide = reader.slide
    assert (slide.mpp, slide.width, slide.height, slide.downsamples) == (0.5, WIDTH, HEIGHT, (1.0, 2.0, 4.0))
    assert set(vars(slide)) == {"name", "path", "mpp", "width", "height", "downsamples"}
    assert not any(word in repr(slide) for word in IDENTIFIERS)


@pytest.mark.parametrize("mpp", [0.5, 0.7, 1.0, 1.3, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("region", [(0, 0, WIDTH, HEIGHT), (40, 90, 320, 160), (131, 17, 97, 203)])
def test_a_region_is_read_from_its_place_at_any_scale(
    path: Path, region: tuple[int, int, int, int], mpp: float
) -> None:
    """Would catch swapped axes, level pixels taken for level-0 pixels, a shift, a wrong output size."""
    x, y, width, height = region
    with open_slide(path) as reader:
        image = reader.read(x, y, width, height, mpp)
    rows, columns = round(height * 0.5 / mpp), round(width * 0.5 / mpp)
    assert image.shape == (rows, columns, 3)
    assert image.dtype == np.uint8
    error = np.abs(image - expected(x, y, width, height, rows, columns))
    assert error.mean() < 1.5
    assert np.quantile(error, 0.99) < JPEG_ERROR


def test_outside_the_slide_is_white(path: Path) -> None:
    """Would catch black or transparent borders, which a model would learn as tissue."""
    with open_slide(path) as reader:
        corner = reader.read(-100, -50, 200, 100, 1.0)
        assert (reader.read(WIDTH + 500, 0, 64, 64, 0.5) == 255).all()
    assert corner.shape == (50, 100, 3)
    assert (corner[:24] == 255).all()
    assert (corner[:, :49] == 255).all()
    assert corner[25:, 50:].mean() < 100


def test_reading_in_blocks_leaves_no_seams(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would catch blocks of a large read that do not join exactly."""
    with open_slide(path) as reader:
        whole = reader.read(3, 5, 490, 240, 0.83)
        monkeypatch.setattr(slide_module, "_BLOCK", 50)
        parts = reader.read(3, 5, 490, 240, 0.83)
    assert np.abs(whole.astype(int) - parts).max() <= 1


@pytest.mark.parametrize("bad", [(0, 10, 1.0), (10, 0, 1.0), (10, 10, 0.0), (10, 10, float("nan"))])
def test_a_read_of_nothing_is_refused(path: Path, bad: tuple[int, int, float]) -> None:
    """Would catch an empty array that goes on as an image."""
    with open_slide(path) as reader, pytest.raises(ValueError, match="positive"):
        reader.read(0, 0, *bad)


@pytest.mark.parametrize(
    "field",
    [{"mpp": 0.0}, {"mpp": float("nan")}, {"width": 0}, {"downsamples": ()}, {"downsamples": (4.0, 1.0)}],
)
def test_an_impossible_slide_is_refused(field: dict[str, object]) -> None:
    """Would catch a slide whose scale divides by zero later."""
    good = {
        "name": "a.svs",
        "path": Path("a.svs"),
        "mpp": 0.5,
        "width": 10,
        "height": 10,
        "downsamples": (1.0,),
    }
    Slide(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"a\.svs"):
        Slide(**{**good, **field})  # type: ignore[arg-type]


def test_a_real_slide_reads(shared_slides: Path) -> None:
    """Would catch a reader that only suits the files which our own tests write."""
    with open_slide(shared_slides / "CMU-1-Small-Region.svs") as reader:
        assert (reader.slide.mpp, reader.slide.width, reader.slide.height) == (0.499, 2220, 2967)
        reader.probe()
        image = reader.read(600, 1200, 512, 256, 0.998)
        with openslide.OpenSlide(reader.slide.path) as handle:
            raw = np.asarray(handle.read_region((600, 1200), 0, (512, 256)))[..., :3]
    assert image.shape == (128, 256, 3)
    assert np.abs(image - raw.reshape(128, 2, 256, 2, 3).mean(axis=(1, 3))).max() <= 1

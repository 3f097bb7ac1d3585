"""Which pages of a file are levels of its picture: a tiled label or macro photograph is none, whatever OpenSlide takes it for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile

from client.errors import NoLevelsError
from client.slides.slide import open_slide
from client.slides.tissue_map import tissue_map
from tests.damaged import scramble
from tests.drawn_tissue import tissue
from tests.planted_slides import photograph

WIDTH, HEIGHT = 1024, 768
TISSUE = tissue(WIDTH)[:HEIGHT]
GLASS = np.full_like(TISSUE, 244)
LIBRARY = "Aperio Image Library v12.0.15"


@dataclass(frozen=True)
class Page:
    """A tiled page behind the first. `says` begins its description."""

    pixels: np.ndarray
    says: str = ""
    quality: int = 90


def smaller(factor: float, image: np.ndarray = TISSUE, way: int = cv2.INTER_AREA) -> np.ndarray:
    size = round(image.shape[1] / factor), round(image.shape[0] / factor)
    return np.asarray(cv2.resize(image, size, interpolation=way))


def write(path: Path, first: Page, *pages: Page) -> Path:
    """An Aperio slide where the name ends in svs, a generic TIFF else; every page is what OpenSlide takes for a level."""
    aperio = path.suffix == ".svs"
    with tifffile.TiffWriter(path) as tiff:
        for number, page in enumerate((first, *pages)):
            text = page.says
            if aperio:
                text = f"{LIBRARY}\r\n{text or 'plain'}" + ("|MPP = 0.5" if number == 0 else "")
            tiff.write(
                page.pixels,
                tile=(64, 64),
                compression="jpeg",
                compressionargs={"level": page.quality},
                photometric="rgb",
                subfiletype=0 if aperio or number == 0 else 1,
                resolution=(20_000, 20_000),
                resolutionunit="CENTIMETER",
                description=text or None,
                metadata=None,
            )
    return path


FORMATS = ("a.svs", "a.tif")
STRANGE: dict[str, tuple[np.ndarray, tuple[Page, ...], tuple[float, ...]]] = {
    # the first page, those behind it, and the downsamples that stay
    "a-label": (TISSUE, (Page(photograph(90, 160), "label 160x90"),), (1,)),
    "a-label-without-a-word": (TISSUE, (Page(photograph(90, 160)),), (1,)),
    "a-label-of-the-slides-shape": (TISSUE, (Page(photograph(150, 200)),), (1,)),
    "a-label-on-glass": (GLASS, (Page(photograph(150, 200)),), (1,)),
    "a-white-label-on-glass": (GLASS, (Page(photograph(150, 200, 250)),), (1,)),
    "a-large-label-on-glass": (
        np.full((3072, 4096, 3), 244, np.uint8),
        (Page(smaller(0.1, photograph(150, 200))),),
        (1,),
    ),
    "a-small-label": (TISSUE, (Page(smaller(4, photograph(150, 200))),), (1,)),
    "what-says-macro": (TISSUE, (Page(smaller(4), "macro 256x192"),), (1,)),
    "what-says-label-in-capitals": (TISSUE, (Page(smaller(4), "LABEL IMAGE"),), (1,)),
    "a-blank-page": (TISSUE, (Page(smaller(4, GLASS)),), (1,)),
    "the-slide-turned": (TISSUE, (Page(smaller(4)[::-1, ::-1]),), (1,)),
    "behind-true-levels": (
        TISSUE,
        (Page(smaller(2)), Page(smaller(4)), Page(photograph(90, 160))),
        (1, 2, 4),
    ),
    "between-true-levels": (TISSUE, (Page(smaller(2)), Page(photograph(192, 256)), Page(smaller(8))), (1, 2)),
}


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("case", STRANGE)
def test_a_photograph_is_no_level_and_no_read_shows_it(tmp_path: Path, case: str, file: str) -> None:
    """Would catch the patient's name in an overview, in the tissue mask and in what a model learns from: OpenSlide takes
    each of these pages for a level."""
    image, pages, kept = STRANGE[case]
    path = write(tmp_path / file, Page(image), *pages)
    with openslide.OpenSlide(path) as handle:
        assert handle.level_count == 1 + len(pages)
    height, width = image.shape[:2]
    with open_slide(path) as reader, pickle.loads(pickle.dumps(reader)) as again:
        for opened in (reader, again):
            assert opened.slide.downsamples == kept
            for factor in (1, 2, 4, 8, 16, 32):
                seen = opened.read(0, 0, width, height, 0.5 * factor)
                assert np.abs(smaller(factor, image) - seen.astype(float)).mean() < 8
        opened.probe()
        assert np.abs(smaller(16, image) - tissue_map(reader).picture.astype(float)).mean() < 8


@dataclass(frozen=True)
class Pyramid:
    """Levels of `image`, or of TISSUE; `spoil` is done to the file."""

    pages: tuple[Page, ...]
    image: np.ndarray | None = None
    spoil: Callable[[Path], None] = lambda path: None


def _moved(image: np.ndarray, by: int) -> np.ndarray:
    return np.pad(image, ((by, 0), (by, 0), (0, 0)), mode="edge")[:-by, :-by]


_INKED = TISSUE.copy()
_INKED[100:300, 200:700] = 0
PYRAMIDS = {
    "averaged": Pyramid((Page(smaller(2)), Page(smaller(4)), Page(smaller(8)))),
    "every-fourth-pixel": Pyramid((Page(TISSUE[::4, ::4]), Page(TISSUE[::16, ::16]))),
    "nearest": Pyramid((Page(smaller(3, way=cv2.INTER_NEAREST)),)),
    "smoothed": Pyramid((Page(smaller(4, cv2.GaussianBlur(TISSUE, (0, 0), 6))),)),
    "sharpened": Pyramid((Page(smaller(2, way=cv2.INTER_LANCZOS4)),)),
    "coarsely-coded": Pyramid((Page(smaller(2), quality=25), Page(smaller(4), quality=25))),
    "a-pixel-off": Pyramid((Page(_moved(smaller(4, _INKED), 1)),), _INKED),
    "a-large-step": Pyramid((Page(smaller(16)),)),
    "a-speck": Pyramid((Page(smaller(128)),)),
    "of-glass": Pyramid((Page(smaller(4, GLASS)),), GLASS),
    "no-whole-factor": Pyramid((Page(smaller(2.56)),)),
    "says-what-it-is": Pyramid((Page(smaller(4), "1024x768 -> 256x192 labelled macrophages"),)),
    "a-damaged-tile": Pyramid((Page(smaller(2)),), spoil=lambda path: scramble(path, 1, 7)),
    "a-damaged-finer-tile": Pyramid((Page(smaller(2)),), spoil=lambda path: scramble(path, 0, 50)),
}


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("case", PYRAMIDS)
def test_a_true_level_stays(tmp_path: Path, case: str, file: str) -> None:
    """Would catch a check so narrow that slides lose their pyramids, and an overview takes minutes."""
    pyramid = PYRAMIDS[case]
    path = write(tmp_path / file, Page(TISSUE if pyramid.image is None else pyramid.image), *pyramid.pages)
    pyramid.spoil(path)
    with open_slide(path) as reader:
        assert len(reader.slide.downsamples) == 1 + len(pyramid.pages)


def test_a_slide_whose_finest_page_is_a_label_is_refused(tmp_path: Path) -> None:
    """Would catch a label larger than the picture, which OpenSlide takes for level 0 of a generic TIFF."""
    path = write(tmp_path / "a.tif", Page(TISSUE), Page(smaller(0.5, photograph(HEIGHT, WIDTH)), "label"))
    with pytest.raises(NoLevelsError):
        open_slide(path)


def test_levels_whose_whole_factors_would_not_rise_keep_openslides(tmp_path: Path) -> None:
    """Would catch the sizes 4443, 2222 and 2220 x 2224: 2.0, then 1.9996, which is no slide that can be described."""
    path = tmp_path / "a.tif"
    black = np.zeros((445, 445, 3), np.uint8)
    write(path, Page(black), Page(black[:223, :223]), Page(black[:224, :222]))
    with openslide.OpenSlide(path) as handle, open_slide(path) as reader:
        assert handle.level_downsamples[2] < 2
        assert reader.slide.downsamples == handle.level_downsamples

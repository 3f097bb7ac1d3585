"""The fast way: which forms of tiles it serves, that its pixels are OpenSlide's, and what happens where they are not."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import simplejpeg
import tifffile
from openslide import OpenSlideError

from client.errors import DamagedRegionError, SlideError
from client.slides.file_state import FileState
from client.slides.same_pixels import places
from client.slides.slide import SlideReader, open_slide
from client.slides.tile_cache import TileCache
from client.slides.tile_index import TiledLevel, tiled_levels
from client.slides.tiled_pixels import _REMEMBERED, TiledPixels
from tests.aperio import IDENTIFIERS, picture, write_slide
from tests.tiled_slides import RGB, YCBCR, Form, place_of, scramble, texture, write_tiled

WIDTH, HEIGHT = 203, 157  # no whole number of tiles
IMAGE = texture(WIDTH, HEIGHT)

FAST = {
    "ycbcr-4:4:4": Form(),
    "ycbcr-4:2:2": Form(chroma="422"),
    "ycbcr-4:2:0": Form(chroma="420"),
    "whole-streams": Form(chroma="420", tables=False),
    "no-marker": Form(chroma="420", markers=False),
    "rgb-with-adobe-marker": Form(photometric=RGB),
    "rgb-without-marker": Form(photometric=RGB, markers=False),
    "rgb-whole-streams": Form(photometric=RGB, tables=False),
    "gray": Form(photometric="minisblack", aperio=False),
    "tiles-not-square": Form(tile=(48, 96)),
    "bigtiff": Form(bigtiff=True),
    "generic-tiff": Form(aperio=False),
    "generic-with-holes": Form(aperio=False, missing=((0, 1), (0, 11), (1, 3))),
    "jpeg2000-rgb": Form(33005, RGB),
    # A tag that contradicts the streams is right as long as OpenSlide heeds it too.
    "tag-says-rgb": Form(said=RGB),
    # Segments in the streams that contradict the tag: libjpeg believes them, OpenSlide the tag, and so do we.
    "adobe-against-tag": Form(photometric=RGB, said=YCBCR),
    "jfif-against-tag": Form(said=RGB, tables=False),
}
SLOW = {
    "jpeg2000-ycbcr": Form(33003, RGB),
    "lzw": Form("lzw", RGB),
    "deflate": Form("deflate", RGB),
    "uncompressed": Form(None, RGB),
    "aperio-with-holes": Form(missing=((0, 1), (1, 3))),
    "aperio-hole-at-level-0": Form(missing=((0, 5),)),
}


def by_openslide(path: Path, level: int, size: tuple[int, int]) -> np.ndarray:
    """A level, whole, over white."""
    with openslide.OpenSlide(path) as handle:
        rgba = np.asarray(handle.read_region((0, 0), level, size)).astype(float)
    return (rgba[..., :3] * rgba[..., 3:] / 255 + 255 - rgba[..., 3:] + 0.5).astype(np.uint8)


@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_every_form_is_read_as_openslide_reads_it(tmp_path: Path, name: str) -> None:
    """Would catch colours taken for other colours, tiles at wrong places, edges not clipped, holes that are not white; and
    a form that silently lost its fast way, or was given one that it must not have."""
    path = write_tiled(tmp_path / f"{name}.tif", IMAGE, (FAST | SLOW)[name])
    with open_slide(path) as reader:
        assert reader.way == ("tiles" if name in FAST else "openslide")
        np.testing.assert_array_equal(
            reader.read(0, 0, WIDTH, HEIGHT, 0.5), by_openslide(path, 0, (WIDTH, HEIGHT))
        )
        source = np.random.default_rng(1)
        for _ in range(20):
            x, y = int(source.integers(-80, WIDTH)), int(source.integers(-80, HEIGHT))
            whole = np.pad(
                by_openslide(path, 0, (WIDTH, HEIGHT)), ((80, 80), (80, 80), (0, 0)), constant_values=255
            )
            np.testing.assert_array_equal(
                reader.read(x, y, 70, 50, 0.5), whole[y + 80 : y + 130, x + 80 : x + 150]
            )


@pytest.mark.parametrize("name", ["ycbcr-4:2:2", "lzw"])
@pytest.mark.parametrize(
    "away", [(WIDTH, 0), (WIDTH + 5, 20), (30, HEIGHT + 1), (-40, 10), (0, -30), (WIDTH, HEIGHT)]
)
def test_beside_the_slide_there_is_white_and_nothing_else(
    tmp_path: Path, name: str, away: tuple[int, int]
) -> None:
    """Would catch what lies in the last tiles beyond the level's edge, and a rectangle turned inside out there."""
    with open_slide(write_tiled(tmp_path / "a.tif", IMAGE, (FAST | SLOW)[name])) as reader:
        assert (reader.read(*away, 30, 30, 0.5) == 255).all()


@pytest.mark.parametrize("name", ["ycbcr-4:2:0", "jpeg2000-rgb", "tiles-not-square"])
def test_a_coarse_level_is_its_own_pixels(tmp_path: Path, name: str) -> None:
    """Would catch a level read by the quotient of its rounded sizes, 203 / 102, which moves its far end."""
    path = write_tiled(tmp_path / "a.tif", IMAGE, FAST[name])
    with tifffile.TiffFile(path) as tiff:
        pixels = tiff.pages[1].asarray()
    with open_slide(path) as reader:
        assert reader.slide.downsamples == (1.0, 2.0)
        ours = reader.read(100, 80, 100, 76, 1.0)
    if name == "jpeg2000-rgb":
        assert np.abs(ours.astype(int) - pixels[40:78, 50:100]).max() == 0
    else:  # tifffile reads the YCbCr that was coded as what the tag says, as we do
        np.testing.assert_array_equal(ours, pixels[40:78, 50:100])


def test_sizes_that_no_whole_factor_made_keep_openslides_downsample(tmp_path: Path) -> None:
    """Would catch levels forced onto whole factors that their sizes deny."""
    image = texture(256, 256)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        for number, level in enumerate((image, cv2.resize(image, (171, 171), interpolation=cv2.INTER_AREA))):
            tiff.write(
                level,
                tile=(64, 64),
                compression="jpeg",
                subfiletype=0,
                metadata=None,
                description="Aperio x\r\n|MPP = 0.5" if not number else None,
            )
    with open_slide(path) as reader:
        assert reader.slide.downsamples == pytest.approx((1.0, 256 / 171))


def test_both_real_slides_are_read_fast_and_the_same(shared_slides: Path) -> None:
    """Would catch a fast way that suits only what our own tests write: Aperio's RGB JPEG with shared tables, and JPEG
    2000."""
    for name, mpp in (("CMU-1-Small-Region.svs", None), ("tcga-cr-7395-01a-01-ts1.svs", 0.5)):
        path = shared_slides / name
        with open_slide(path, mpp) as reader, openslide.OpenSlide(path) as handle:
            assert reader.way == "tiles"
            slide, source = reader.slide, np.random.default_rng(2)
            spots = [(slide.width - 150, slide.height - 150)]
            spots += [tuple(map(int, source.integers(0, (slide.width, slide.height)))) for _ in range(12)]
            for x, y in spots:
                rgba = np.asarray(handle.read_region((x, y), 0, (200, 200)))
                theirs = np.where(rgba[..., 3:] == 255, rgba[..., :3], 255)
                np.testing.assert_array_equal(reader.read(x, y, 200, 200, slide.mpp), theirs)


def test_a_real_pyramids_level_lies_where_its_pixels_were_made(shared_slides: Path) -> None:
    """Would catch a downsample of 2.0005 for a level that is level 0 averaged by twos: half a pixel off at its end."""
    with open_slide(shared_slides / "tcga-cr-7395-01a-01-ts1.svs", 0.5) as reader:
        assert reader.slide.downsamples == (1.0, 2.0)
        level_0 = reader.read(4000, 3000, 400, 400, 0.5).astype(float)
        level_1 = reader.read(4000, 3000, 400, 400, 1.0).astype(float)
    means = level_0.reshape(200, 2, 200, 2, 3).mean(axis=(1, 3))

    def apart(x: int, y: int) -> float:
        return float(np.square(means[1 + y : 199 + y, 1 + x : 199 + x] - level_1[1:199, 1:199]).mean())

    assert all(apart(0, 0) < apart(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0))


@pytest.mark.parametrize("form", [FAST["ycbcr-4:2:0"], FAST["jpeg2000-rgb"], SLOW["deflate"]])
def test_a_damaged_tile_costs_its_own_region_alone(tmp_path: Path, form: Form) -> None:
    """Would catch a damaged tile that is shown as if it were tissue, or that ends the reading of the whole slide:
    OpenSlide's handles are of no use once one read has failed."""
    image = texture(640, 640)
    path = write_tiled(tmp_path / "a.svs", image, form)
    scramble(path, 0, 33)  # column 3, row 3: neither at a corner nor at the middle
    with open_slide(path) as reader:
        assert reader.way == ("openslide" if form is SLOW["deflate"] else "tiles")
        before = reader.read(0, 0, 192, 640, 0.5)
        for _ in range(2):
            with pytest.raises(DamagedRegionError, match=r"a\.svs"):
                reader.read(180, 180, 64, 64, 0.5)
            np.testing.assert_array_equal(reader.read(0, 0, 192, 640, 0.5), before)


@dataclass(frozen=True)
class OddTile:
    """One tile of a slide, at no place that is looked at in opening: what is done to its stream, and whether OpenSlide
    still shows it."""

    make: Callable[[bytes], bytes]
    form: Form = field(default_factory=lambda: Form(tables=False))
    shown: bool = True


JFIF = bytes.fromhex("ffe000104a46494600010100000100010000")
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


def _with_segment(segment: bytes) -> Callable[[bytes], bytes]:
    return lambda stream: stream[:2] + segment + stream[2:]


def _gray(stream: bytes) -> bytes:
    pixels = simplejpeg.decode_jpeg(stream, colorspace="GRAY")
    return simplejpeg.encode_jpeg(pixels, 90, colorspace="GRAY", colorsubsampling="Gray")


PLAIN, PLAIN_RGB = Form(tables=False, markers=False), Form(photometric=RGB, tables=False, markers=False)
ODD = {
    "adobe-says-rgb": OddTile(_with_segment(ADOBE + b"\0"), PLAIN),
    "adobe-says-ycbcr": OddTile(_with_segment(ADOBE + b"\1"), PLAIN_RGB),
    "jfif-says-ycbcr": OddTile(_with_segment(JFIF), PLAIN_RGB),
    "jfif-then-adobe": OddTile(_with_segment(JFIF + ADOBE + b"\1"), PLAIN_RGB),
    "adobe-behind-the-tables": OddTile(
        lambda stream: stream.replace(b"\xff\xda", ADOBE + b"\0\xff\xda", 1), PLAIN
    ),
    "filled-up-before-a-segment": OddTile(_with_segment(b"\xff\xff\xff")),
    "no-end": OddTile(lambda stream: stream[:-2] + b"\0" * 8),
    "no-end-and-nothing-more": OddTile(lambda stream: stream[:-2], shown=False),
    "more-behind-the-end": OddTile(lambda stream: stream + b"\0more"),
    "cut": OddTile(lambda stream: stream[: len(stream) // 2], shown=False),
    "gray": OddTile(_gray, shown=False),
    "nothing-but-a-start": OddTile(lambda stream: stream[:2], shown=False),
    "a-segment-without-end": OddTile(_with_segment(b"\xff\xe1\xff\xff"), shown=False),
    "noise": OddTile(lambda stream: stream[:2] + b"\x55" * 90, shown=False),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_tile_amid_others_is_what_openslide_takes_it_for(tmp_path: Path, name: str) -> None:
    """Would catch other colours than OpenSlide's where one stream speaks of its own, and damage where OpenSlide sees
    none, or none where it sees some."""
    odd, image = ODD[name], texture(640, 640)
    path = write_tiled(tmp_path / "a.tif", image, replace(odd.form, aperio=False), odd=(33, odd.make))
    place = (3 * 64, 3 * 64, 64, 64)
    with open_slide(path) as reader:
        assert reader.way == "tiles"
        if not odd.shown:
            with pytest.raises(OpenSlideError), openslide.OpenSlide(path) as handle:
                handle.read_region(place[:2], 0, place[2:])
            with pytest.raises(DamagedRegionError):
                reader.read(*place, 0.5)
            return
        for _ in range(2):
            seen = reader.read(200, 150, 200, 200, 0.5)
            np.testing.assert_array_equal(seen, by_openslide(path, 0, (640, 640))[150:350, 200:400])
        with pickle.loads(pickle.dumps(reader)) as again:
            np.testing.assert_array_equal(again.read(200, 150, 200, 200, 0.5), seen)


def test_a_tile_that_is_another_picture_is_damage(tmp_path: Path) -> None:
    """Would catch a stream of another size laid over the tile, and memory given to what a header claims."""
    path = write_tiled(tmp_path / "a.tif", texture(640, 640), Form(tables=False))
    offset, _ = place_of(path, 0, 33)
    data = bytearray(path.read_bytes())
    size = data.index(b"\xff\xc0", offset) + 5
    data[size : size + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with open_slide(path) as reader:
        assert reader.way == "tiles"
        with pytest.raises(DamagedRegionError):
            reader.read(200, 200, 32, 32, 0.5)


def test_what_the_index_says_is_not_believed(tmp_path: Path) -> None:
    """Would catch tiles of gigabytes, tiles fewer than cover the level, and directories that are no such thing."""
    good = write_tiled(tmp_path / "good.tif", IMAGE, Form())
    assert tiled_levels(good, [(WIDTH, HEIGHT)]) is not None
    assert tiled_levels(good, [(WIDTH, HEIGHT + 1)]) is None
    assert tiled_levels(tmp_path / "absent.tif", [(WIDTH, HEIGHT)]) is None
    noise = tmp_path / "noise.tif"
    for seed in range(40):
        data = bytearray(good.read_bytes())
        source = np.random.default_rng(seed)
        for at in source.integers(4, 700, 8):
            data[at] = source.integers(0, 256)
        noise.write_bytes(data)
        tiled_levels(noise, [(WIDTH, HEIGHT), (102, 79)])  # None or levels, never an error
    two_alike = tmp_path / "two.tif"
    write_tiled(two_alike, IMAGE, Form(), factors=(1, 1))
    assert tiled_levels(two_alike, [(WIDTH, HEIGHT)]) is None


def test_the_places_looked_at_hold_what_could_differ() -> None:
    """Would catch a check that sees only corners, only blank glass, or no tile that is missing."""
    counts = np.full(12, 500)
    counts[[5, 9]], counts[7] = 0, 900
    level = TiledLevel(203, 157, 64, 64, np.arange(12), counts, lambda data, into: None)
    seen = list(places(level))
    assert (0, 0, 32, 32) in seen
    assert (203 - 32, 157 - 32, 32, 32) in seen
    assert (48, 48, 32, 32) in seen  # four tiles meet
    assert (192, 64, 11, 64) in seen  # the tile with the most bytes
    assert {(64, 64, 64, 64), (64, 128, 64, 29)} <= set(seen)  # the missing ones
    assert all(x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= 203 and y + h <= 157 for x, y, w, h in seen)


def test_libraries_words_about_a_file_reach_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    """Would catch tifffile's warnings, which quote what stands in a slide, in the root logger's handlers or on stderr."""
    said = StringIO()
    everything = logging.StreamHandler(said)
    logging.getLogger().addHandler(everything)
    try:
        logging.getLogger("tifffile").error("as it would say of %s", IDENTIFIERS)
    finally:
        logging.getLogger().removeHandler(everything)
    assert not said.getvalue()
    assert not any(capfd.readouterr())


def test_a_closed_reader_reads_no_more(tmp_path: Path) -> None:
    """Would catch a descriptor that has since been given to another file."""
    for form in (Form(), SLOW["lzw"]):
        path = write_tiled(tmp_path / "a.svs", IMAGE, form)
        reader = open_slide(path)
        reader.close()
        reader.close()
        with pytest.raises(ValueError, match="closed"):
            reader.read(0, 0, 64, 64, 0.5)


def test_what_is_remembered_of_used_tiles_is_bounded(tmp_path: Path) -> None:
    """Would catch a set that grows for ever once two threads have stepped over its bound."""
    path = write_tiled(tmp_path / "a.tif", IMAGE, Form())
    levels = tiled_levels(path, [(WIDTH, HEIGHT)])
    assert levels is not None
    pixels = TiledPixels(path, FileState.of(path.stat()), levels, TileCache())
    pixels._used_whole |= {(0, 1000 + number) for number in range(_REMEMBERED + 1)}
    pixels.read(0, 0, 0, WIDTH, HEIGHT)
    assert len(pixels._used_whole) <= _REMEMBERED


def test_a_fast_slide_is_one_descriptor(tmp_path: Path) -> None:
    """Would catch OpenSlide's handle, or tifffile's file, left open beside our own."""
    path = write_tiled(tmp_path / "a.svs", IMAGE, Form())

    def held() -> int:
        links = (Path(f"/proc/self/fd/{fd.name}") for fd in Path("/proc/self/fd").iterdir())
        return sum(link.exists() and link.resolve() == path for link in links)

    with open_slide(path) as reader:
        assert isinstance(reader, SlideReader)
        assert held() == 1
    assert held() == 0


@pytest.mark.parametrize("mpp", [0.01, 100.0, 0.0, -1.0, float("nan"), float("inf")])
def test_an_absurd_pixel_size_is_refused_whoever_states_it(tmp_path: Path, mpp: float) -> None:
    """Would catch a scale off by a thousand, which reads a cell as a slide."""
    stated = write_slide(tmp_path / "stated.svs", picture(128, 128), mpp=mpp)
    for slide, said in ((stated, None), (write_slide(tmp_path / "good.svs", picture(128, 128)), mpp)):
        with pytest.raises(SlideError) as caught:
            open_slide(slide, said)
        assert caught.value.reason in ("absurd-mpp", "no-mpp")  # OpenSlide drops what is no number
        assert said is None or caught.value.reason == "absurd-mpp"


def test_pixels_that_are_not_square_are_refused(tmp_path: Path) -> None:
    """Would catch tissue stretched to half its height."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, IMAGE, tile=(64, 64), resolution=(20_000, 10_000), resolutionunit="CENTIMETER", metadata=None
    )
    with pytest.raises(SlideError) as caught:
        open_slide(path)
    assert caught.value.reason == "absurd-mpp"

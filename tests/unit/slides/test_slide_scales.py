"""Pixel sizes that a person states: what goes before what, and every wrong row at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import MissingMppError, ScalesError
from client.slides.index import index_slides
from client.slides.scales import Scales, read_scales
from tests.aperio import picture, write_slide


def read(folder: Path, *rows: str) -> Scales:
    path = folder / "mpp.csv"
    path.write_text("\n".join(("slide,mpp", *rows)), "utf-8")
    return read_scales(path)


def test_a_slides_own_row_goes_before_its_folders_and_an_inner_folder_before_an_outer(tmp_path: Path) -> None:
    """Catches a whole scanner's slides at another's scale."""
    scales = read(tmp_path, "b/,0.5", "./,1", "b/c/,0.25", "b/c/2.svs,0.3", "top.svs,0.7", "né.svs,0.4")
    names = ["a.svs", "b/1.svs", "b/c/1.svs", "b/c/2.svs", "bc/1.svs", "d/top.svs", "d/ne\u0301.svs"]
    assert scales.of(names) == {
        "a.svs": 1.0,
        "b/1.svs": 0.5,
        "b/c/1.svs": 0.25,
        "b/c/2.svs": 0.3,
        "bc/1.svs": 1.0,
        "d/top.svs": 0.7,
        "d/ne\u0301.svs": 0.4,
    }


def test_nothing_is_said_of_slides_that_no_row_names(tmp_path: Path) -> None:
    """Catches a scale that is guessed, and a hospital that is asked for a file which it does not need."""
    assert read_scales(tmp_path / "mpp.csv").of(["a.svs"]) == {}
    assert read(tmp_path, "b.svs,0.5", "", "c/,0.5").of(["a.svs", "c.svs"]) == {}


def test_every_wrong_row_is_told_at_once(tmp_path: Path) -> None:
    """Catches sizes in nanometres, in another country's decimals, or of no microscope, and rows mended one by one."""
    rows = ("a.svs,0", "b.svs,-1", "c.svs,nan", "d.svs,inf", "e.svs,250", "f.svs,\"0,25\"", "g.svs", ",0.5", "/,0.5",
            "h.svs,0.5,x", "i.svs,0.5", "i.svs,0.25", "j.svs,0.5", "j.svs,0.50", "k.svs,1e-9")  # fmt: skip
    with pytest.raises(ScalesError) as caught:
        read(tmp_path, *rows)
    told = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in told[1:]] == [
        f"row {number}" for number in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 16)
    ]
    assert "12 problem(s)" in told[0]


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"mpp,slide\n", b"\xff\xfe", b'slide,mpp\n"a'])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    """Catches a file in another form that is silently of no effect."""
    (tmp_path / "mpp.csv").write_bytes(content)
    with pytest.raises(ScalesError, match=r"mpp\.csv"):
        read_scales(tmp_path / "mpp.csv")


def test_a_name_that_two_slides_bear_is_nobodys_and_an_idle_one_is_told(tmp_path: Path) -> None:
    """Catches one of two slides that is guessed, and a misspelt row that nobody hears of."""
    scales = read(tmp_path, "1.svs,0.5", "none.svs,0.5", "x/,0.5", "z/,0.5", "./,1")
    with pytest.raises(ScalesError, match=r"row 2: '1\.svs' may be any of x/1\.svs, y/1\.svs"):
        scales.of(["x/1.svs", "y/1.svs"])
    assert scales.idle(["x/1.svs", "y/2.svs"]) == ("none.svs", "z/")


def test_a_slide_without_a_scale_serves_once_somebody_states_it(tmp_path: Path) -> None:
    """Catches a scale that takes effect only when a slide is opened anew, or that does not reach who reads the slide."""
    slides = tmp_path / "slides"
    slides.mkdir()
    for name, mpp in (("bare.svs", None), ("zero.svs", 0.0), ("stated.svs", 0.5)):
        write_slide(slides / name, picture(120, 80), mpp=mpp, downsamples=())
    catalogue = tmp_path / "c.db"
    first = index_slides(slides, catalogue)
    assert list(first.skipped) == ["bare.svs", "zero.svs"]
    assert all(isinstance(error, MissingMppError) for error in first.skipped.values())
    assert "mpp.csv" in str(first.skipped["bare.svs"])
    then = index_slides(slides, catalogue, scales=read(tmp_path, "bare.svs,0.25", "stated.svs,0.3"))
    assert {name: slide.mpp for name, slide in then.slides.items()} == {"bare.svs": 0.25, "stated.svs": 0.3}
    assert list(then.skipped) == ["zero.svs"]

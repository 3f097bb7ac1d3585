"""Slides that are opened again and again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.errors import SlideError, UnreadableSlideError
from client.slides import openings, slide
from client.slides.openings import Openings
from client.slides.slide import Slide, open_slide
from tests.tiled_slides import RGB, Form, texture, write_tiled

FORMS = {"tiles": Form(), "openslide": Form("lzw", RGB)}


def opened(path: Path, seed: int, form: Form) -> Slide:
    with open_slide(write_tiled(path, texture(200, 200, seed=seed), form)) as reader:
        return reader.slide


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which slides were looked through."""
    seen: list[Path] = []

    def open_and_note(path: Path, mpp: float | None = None) -> slide.SlideReader:
        seen.append(path)
        return open_slide(path, mpp)

    monkeypatch.setattr(openings, "open_slide", open_and_note)
    return seen


@pytest.mark.parametrize("form", FORMS)
def test_a_slide_is_looked_through_once_and_no_file_stays_open(
    tmp_path: Path, looked: list[Path], form: str
) -> None:
    """Catches a training batch that pays the check of a slide's pixels for every region, and descriptors that add up."""
    known = [opened(tmp_path / f"{number}.tif", number, FORMS[form]) for number in range(3)]
    with open_slide(known[0].path) as reader:
        truth = reader.read(0, 0, 90, 90, 0.5)
    before = len(list(Path("/proc/self/fd").iterdir()))
    opens = Openings()
    for _ in range(5):
        for each in known:
            with opens.open(each) as reader:
                found = reader.read(0, 0, 90, 90, 0.5)
            if each is known[0]:
                np.testing.assert_array_equal(found, truth)
    assert looked == [each.path for each in known]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("form", FORMS)
def test_another_file_in_its_place_is_looked_through_anew(
    tmp_path: Path, looked: list[Path], form: str
) -> None:
    """Catches tiles that are looked for where another file had them."""
    known = opened(tmp_path / "a.tif", 1, FORMS[form])
    opens = Openings()
    opens.open(known).close()
    other = texture(200, 200, seed=2)
    write_tiled(known.path, other, FORMS["openslide"])
    with opens.open(known) as reader:
        np.testing.assert_array_equal(reader.read(0, 0, 200, 200, 0.5), other)
    opens.open(known).close()
    assert len(looked) == 2
    known.path.write_bytes(b"")
    with pytest.raises(SlideError):
        opens.open(known)
    known.path.unlink()
    with pytest.raises(UnreadableSlideError):
        opens.open(known)

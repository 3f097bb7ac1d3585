"""DICOM slides: read by any file of their series; what is no slide, or one in a form that can't be read, is refused by
name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless

from client.errors import SlideError
from client.slides.dicom import dicom_error
from client.slides.slide import open_slide
from tests.aperio import picture
from tests.dicom_slide import IDENTIFIERS, write_ct, write_dicom_slide

WIDTH, HEIGHT = 300, 200


def refused(path: Path) -> str:
    with pytest.raises(SlideError) as caught, open_slide(path) as reader:
        reader.probe()
    assert path.name in str(caught.value)
    assert not any(word in str(caught.value) for word in IDENTIFIERS)
    return caught.value.reason


def test_a_dicom_slide_is_read_whole_by_any_of_its_files(tmp_path: Path) -> None:
    """Would catch levels that stay apart, a level taken for the slide, millimetres taken for microns."""
    image = picture(WIDTH, HEIGHT)
    for path in write_dicom_slide(tmp_path / "slide", image):
        with open_slide(path) as reader:
            assert (reader.way, reader.slide.mpp) == ("openslide", pytest.approx(0.5))
            assert (reader.slide.width, reader.slide.height) == (WIDTH, HEIGHT)
            assert reader.slide.downsamples == (1.0, 2.0)
            reader.probe()
            assert np.abs(reader.read(0, 0, WIDTH, HEIGHT, 0.5).astype(int) - image).mean() < 3
            assert (reader.read(WIDTH, 0, 50, 50, 0.5) == 255).all()
            assert not any(word in repr(reader.slide) for word in IDENTIFIERS)


def test_another_kind_of_dicom_is_refused_by_name(tmp_path: Path) -> None:
    """Would catch a CT that is called a damaged slide."""
    assert refused(write_ct(tmp_path / "ct.dcm")) == "dicom-other"


def test_a_slide_in_a_form_that_openslide_does_not_read_is_refused_by_name(tmp_path: Path) -> None:
    """Would catch IT sent to look for damage where an export setting is the matter."""
    path = write_dicom_slide(tmp_path / "slide", picture(WIDTH, HEIGHT), levels=1)[0]
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = JPEGLSLossless
    data.save_as(path)
    assert refused(path) == "dicom-unsupported"


def test_a_slide_that_lacks_what_it_promises_is_refused(tmp_path: Path) -> None:
    """Would catch a copy cut short that serves what is left of it as a slide."""
    for share in (0.9, 0.5, 0.02):
        folder = tmp_path / str(share)
        path = write_dicom_slide(folder, picture(WIDTH, HEIGHT), levels=1)[0]
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        assert refused(path) in ("damaged", "dicom-unsupported")


def test_frames_that_are_not_there_are_refused(tmp_path: Path) -> None:
    """Would catch a full grid of tiles of which half are blank without a word."""
    path = write_dicom_slide(tmp_path / "slide", picture(WIDTH, HEIGHT), levels=1)[0]
    data = pydicom.dcmread(path)
    data.NumberOfFrames = 10
    data.save_as(path)
    assert refused(path) in ("damaged", "dicom-unsupported")


def test_the_head_of_a_dicom_file_is_not_believed(tmp_path: Path) -> None:
    """Would catch lengths that lead past the head, and a file that is no DICOM file called one."""
    path = tmp_path / "a.dcm"
    for element in (
        b"",
        b"\x02\x00\x02\x00UI\xff\xff",
        b"\x02\x00\x01\x00OB\0\0\xff\xff\xff\xff",
        b"\x02\x00\x02\x00UI" + struct.pack("<H", 4) + b"1.2\0",
        b"\x08\x00\x16\x00UI\x02\x001\0" * 3,
    ):
        path.write_bytes(b"\0" * 128 + b"DICM" + element + b"\0" * 16)
        error = dicom_error(path)
        assert error is not None
        assert error.reason == "dicom-other"
    path.write_bytes(b"II*\0" + b"\0" * 200)
    assert dicom_error(path) is None

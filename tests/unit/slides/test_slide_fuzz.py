"""TIFF slides with damage anywhere in their heads: an error by name, or a slide that can be read; never anything else.

DICOM is left out: of some damage OpenSlide itself dies, which is what examiners are for.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from client.errors import SlideError
from client.slides.slide import open_slide
from tests.aperio import picture, write_slide
from tests.tiled_slides import RGB, Form, texture, write_tiled

NUMBERS = (
    0,
    1,
    2,
    7,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0xFFFFFFFF,
    1 << 40,
    1 << 62,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
KINDS = ("aperio.svs", "generic.tif", "big.tif", "big-deflate.tif")


@cache
def whole(kind: str) -> tuple[bytes, tuple[int, ...]]:
    """A good slide, and where the words of its directories begin: those that damage is most felt in."""
    image = texture(150, 130)
    with TemporaryDirectory() as folder:
        path = Path(folder) / kind
        if kind == "aperio.svs":
            write_slide(path, picture(150, 130))
        else:
            code = {"code": "deflate", "photometric": RGB} if "deflate" in kind else {}
            write_tiled(path, image, Form(aperio=False, bigtiff="big" in kind, **code))
        data = path.read_bytes()
        with tifffile.TiffFile(path) as tiff:
            entry = 20 if "big" in kind else 12
            places = [
                at for page in tiff.pages for tag in page.tags for at in range(tag.offset, tag.offset + entry)
            ]
            directories = [page.offset + at for page in tiff.pages for at in range(8)]
    return data, (*range(16), *directories, *places)


damages = st.lists(
    st.tuples(
        st.integers(0, 1 << 20), st.sampled_from(NUMBERS) | st.integers(0, 255), st.sampled_from("BHIQ")
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(KINDS), damages, st.none() | st.floats(0, 1))
def test_a_damaged_head_is_an_error_by_name_or_a_slide(
    kind: str, damage: list[tuple[int, int, str]], end: float | None
) -> None:
    """Would catch a raw exception of struct, tifffile, numpy or our own, which ends a round instead of leaving out a slide."""
    data, places = whole(kind)
    spoilt = bytearray(data)
    for place, number, form in damage:
        value = struct.pack(f"<{form}", number % (1 << 8 * struct.calcsize(form)))
        at = places[place % len(places)]
        spoilt[at : at + len(value)] = value
    with TemporaryDirectory() as folder:
        path = Path(folder) / kind
        path.write_bytes(spoilt[: len(data) if end is None else int(len(data) * end)])
        for mpp in (None, 0.5):
            try:
                with open_slide(path, mpp) as reader:
                    slide = reader.slide
                    reader.probe()
                    for scale in (slide.mpp, 3 * slide.mpp):
                        seen = reader.read(slide.width // 2, slide.height // 2, 90, 90, scale)
                        assert seen.dtype == np.uint8
            except SlideError:
                pass

"""Run-length masks and outlines: what is decoded, traced, simplified and written is what was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from client.imports.masks import decode, trace
from client.imports.shapes import Part, Ring, Shape, area, as_ring, bounds, outline, parts_of, simplify
from client.slides.regions import area_of

Mask = NDArray[np.bool_]
masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda size: arrays(np.bool_, size))


def runs(mask: Mask) -> list[int]:
    """COCO's plain run lengths: down the columns, background first."""
    flat = mask.T.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    return np.diff([0, *edges, len(flat)]).tolist()


def compressed(counts: list[int]) -> str:
    """COCO's text of run lengths, written anew from its description."""
    text = ""
    for k, count in enumerate(counts):
        value = count - counts[k - 2] if k > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


def filled(lines: list[Ring], height: int, width: int) -> Mask:
    """Pixels whose centres lie inside any of the lines, each by the even-odd rule."""
    ys, xs = np.mgrid[0:height, 0:width] + 0.5
    union = np.zeros((height, width), dtype=np.bool_)
    for line in lines:
        inside = np.zeros_like(union)
        for (x1, y1), (x2, y2) in zip(line, (*line[1:], line[0]), strict=True):
            if y1 != y2:
                inside ^= ((y1 <= ys) != (y2 <= ys)) & (xs > x1 + (ys - y1) * (x2 - x1) / (y2 - y1))
        union |= inside
    return union


def test_a_mask_that_cocos_own_tool_wrote() -> None:
    """Catches another bit order, row order or difference than COCO's. Written by pycocotools 2.0."""
    text = (
        "mb0i0S100000000^OUO3k0MUO3k0MUO3k0MUO3k0MUO3k0MUO3k0MUO3k0MUO3k0MUO3k0MUO3k0MUO3k0MUO3k0MUO3k0MUO3k0"
        "MUO3k0?000000000000000000cV1XOUjN00000000000000000hN"
    )
    drawn = np.zeros((60, 70), dtype=np.bool_)
    drawn[5:30, 10:40] = True
    drawn[12:20, 15:30] = False
    drawn[40, 60:70] = True
    np.testing.assert_array_equal(decode({"size": [60, 70], "counts": text}, 60, 70), drawn)
    square, line = sorted(trace(drawn), key=lambda part: -area(part.outer))
    assert bounds((square,)) == (10, 5, 40, 30)
    assert [bounds((Part(hole),)) for hole in square.holes] == [(15, 12, 30, 20)]
    assert (bounds((line,)), line.holes) == ((60, 40, 70, 41), ())


@given(masks)
def test_a_mask_is_decoded_as_it_was_encoded(mask: Mask) -> None:
    """Catches rows taken for columns, and runs from the third on, which are differences."""
    height, width = mask.shape
    for counts in (runs(mask), compressed(runs(mask))):
        decoded = decode({"size": [height, width], "counts": counts}, height, width)
        np.testing.assert_array_equal(decoded, mask)


BAD_MASKS: dict[str, Any] = {
    "another size": {"size": [4, 3], "counts": [12]},
    "no size": {"counts": [12]},
    "too short": {"size": [3, 4], "counts": [11]},
    "too long": {"size": [3, 4], "counts": [5, 8]},
    "negative": {"size": [3, 4], "counts": [-1, 13]},
    "halves": {"size": [3, 4], "counts": [0.5, 11.5]},
    "truth values": {"size": [3, 4], "counts": [True, 11]},
    "no counts": {"size": [3, 4]},
    "strange text": {"size": [3, 4], "counts": "<\n>"},
    "cut text": {"size": [3, 4], "counts": "\x60"},
    "words": "mask",
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_what_is_no_mask_is_refused(name: str) -> None:
    """Catches a mask that is shifted, wrapped or guessed where its runs do not fit the image."""
    with pytest.raises(ValueError, match="counts"):
        decode(BAD_MASKS[name], 3, 4)


def test_a_mask_of_a_whole_slide_is_refused() -> None:
    """Catches a file of a few bytes that fills the memory."""
    with pytest.raises(ValueError, match="polygons"):
        decode({"size": [100_000, 100_000], "counts": [10**10]}, 100_000, 100_000)


@given(masks)
def test_tracing_loses_no_pixel(mask: Mask) -> None:
    """Catches holes that are filled, parts that are lost or joined, and outlines half a pixel off: written as
    single lines and filled again, a mask is itself."""
    parts = trace(mask)
    lines = [outline(part, 0.0) for part in parts]
    np.testing.assert_array_equal(filled(lines, *mask.shape), mask)
    assert sum(area(line) for line in lines) == mask.sum()


@given(masks, st.integers(0, 8), st.integers(0, 8), st.integers(1, 8), st.integers(1, 8))
def test_clipping_keeps_what_is_inside(mask: Mask, x: int, y: int, width: int, height: int) -> None:
    """Catches a hole that a cut opens or closes, and area from beyond the field."""
    drawn = area_of([(part.outer, part.holes) for part in trace(mask)])
    parts = parts_of(shapely.intersection(drawn, shapely.box(x, y, x + width, y + height)))
    inside = np.zeros_like(mask)
    inside[y : y + height, x : x + width] = mask[y : y + height, x : x + width]
    np.testing.assert_array_equal(filled([outline(part, 0.0) for part in parts], *mask.shape), inside)


def test_what_a_cut_leaves_as_a_line_or_a_point_is_no_part() -> None:
    """Catches a manifest that is refused for a polygon without an area, where an outline only touches its field."""
    beside = shapely.Polygon([(0, 0), (10, 0), (10, 10), (5, 4), (0, 10)])
    touched = shapely.GeometryCollection(
        [beside, shapely.LineString([(0, 20), (9, 20)]), shapely.Point(3, 30)]
    )
    assert [bounds((part,)) for part in parts_of(touched)] == [(0, 0, 10, 10)]


def test_only_corners_are_kept() -> None:
    """Catches an outline of as many points as the mask has edge pixels, which no model could write."""
    mask = np.zeros((50, 60), dtype=np.bool_)
    mask[10:40, 5:50] = True
    (part,) = trace(mask)
    assert sorted(part.outer) == [(5, 10), (5, 40), (50, 10), (50, 40)]


@settings(max_examples=50)
@given(st.integers(15, 60), st.floats(1, 3))
def test_a_simpler_outline_stays_near(radius: int, tolerance: float) -> None:
    """Catches a simplification that eats the shape: each point left out lies within the tolerance, so the
    area differs by less than the perimeter times it. A staircase of pixels needs few points."""
    ys, xs = np.mgrid[: 2 * radius + 4, : 2 * radius + 4]
    disc = (xs - radius - 2) ** 2 + (ys - radius - 2) ** 2 <= radius**2
    (part,) = trace(disc)
    simple = simplify(part.outer, tolerance)
    assert abs(area(simple) - disc.sum()) <= 8 * radius * tolerance
    assert len(simple) < len(part.outer) / 2
    assert set(simple) <= set(part.outer)


def test_a_shape_that_would_vanish_stays_as_it_is() -> None:
    """Catches a mitosis that a large field's tolerance flattens to a line."""
    ring = as_ring([(0, 0), (4, 0), (4, 1), (0, 1)])
    assert simplify(ring, 100.0) == ring


@pytest.mark.parametrize(
    "points",
    [[], [(0, 0), (1, 1)], [(0, 0), (2, 2), (1, 1)], [(0, 0)] * 5],
)
def test_a_ring_without_an_area_is_refused(points: list[tuple[float, float]]) -> None:
    """Catches lines and points that a manifest would refuse later, and worse, without saying where from."""
    with pytest.raises(ValueError, match="no area"):
        as_ring(points)


def test_bounds_are_of_all_parts() -> None:
    """Catches the box of the first part taken for the whole object's."""
    shape: Shape = tuple(Part(as_ring([(k, k), (k + 2, k), (k + 2, k + 3)])) for k in (0, 10))
    assert bounds(shape) == (0, 0, 12, 13)

"""Grids' exact edges, and tiles inside outlines: with holes, crossing themselves, one over another, as QuPath has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.imports.qupath import read_qupath
from client.imports.shapes import Part, outline
from client.imports.slides import SlideNames
from client.slides.index import SlideIndex
from client.slides.regions import area_of, cells_inside, shares_inside
from client.slides.slide import Slide
from client.slides.tiles import Tile, grid_over

SLIDE = Slide("a.svs", Path("a.svs"), 0.5, 1000, 400, (1.0,))
GRID = grid_over(SLIDE, 0.5, 100)
SQUARE = ((100.0, 100.0), (400.0, 100.0), (400.0, 400.0), (100.0, 400.0))
HOLE = ((200.0, 200.0), (300.0, 200.0), (300.0, 300.0), (200.0, 300.0))


@pytest.mark.parametrize(
    ("width", "pixels", "overlap", "columns", "last"),
    [
        (1000, 100, 0, 10, 900),
        (1001, 100, 0, 11, 1000),  # one column of pixels needs a tile
        (999, 100, 0, 10, 900),
        (100, 100, 0, 1, 0),
        (30, 100, 0, 1, 0),  # a slide smaller than a tile
        (1000, 100, 50, 19, 900),
        (1000, 100, 20, 13, 960),  # the last tile hangs over
        (120, 100, 99, 21, 20),
    ],
)
def test_where_the_last_column_stands(width: int, pixels: int, overlap: int, columns: int, last: int) -> None:
    """Would catch an edge that no tile covers, and a last tile that shows nothing new."""
    grid = grid_over(Slide("a.svs", Path("a.svs"), 0.5, width, 50, (1.0,)), 0.5, pixels, overlap)
    assert (grid.rows, grid.columns, grid.tile(0, grid.columns - 1).x) == (1, columns, last)


def test_lengths_are_asked_for_in_the_tiles_own_pixels() -> None:
    """Would catch an overlap or a margin in level-0 pixels."""
    grid = grid_over(SLIDE, 2.0, 64, overlap=16, margin=8)
    assert (grid.side, grid.stride, grid.margin) == (256, 192, 32)
    assert grid.around(1, 1) == Tile(160, 160, 320, 320)


@pytest.mark.parametrize("asked", [(0.0, 64, 0, 0), (1.0, 64, 64, 0), (1.0, 64, -1, 0), (1.0, 64, 0, -1)])
def test_a_grid_that_can_not_be_is_refused(asked: tuple[float, int, int, int]) -> None:
    """Would catch a stride of nothing, which never ends."""
    with pytest.raises(ValueError, match="overlap"):
        grid_over(SLIDE, *asked)


def test_a_hole_is_not_inside_however_it_is_written() -> None:
    """Would catch holes that are filled: as QuPath writes them, and bridged as a manifest's polygon has them."""
    holed = area_of([(SQUARE, [HOLE])])
    bridged = area_of([(outline(Part(SQUARE, (HOLE,)), 0.0), [])])
    for area in (holed, bridged):
        around = [[row, column] for row in (1, 2, 3) for column in (1, 2, 3) if (row, column) != (2, 2)]
        assert cells_inside(GRID, area, 1.0).tolist() == around
        assert shares_inside(GRID, area)[2, 2] == pytest.approx(0)


def test_outlines_that_cross_or_overlap_count_once() -> None:
    """Would catch a share above 1, and an area of nought for a line that crosses itself."""
    twice = area_of([(SQUARE, []), (SQUARE, [])])
    assert shares_inside(GRID, twice).max() == pytest.approx(1)
    crossed = area_of([(((0.0, 0.0), (200.0, 200.0), (200.0, 0.0), (0.0, 200.0)), [])])
    assert shares_inside(GRID, crossed)[:2, :2].sum() == pytest.approx(2)


def test_touching_is_not_overlapping() -> None:
    """Would catch neighbours taken for their common edge."""
    assert cells_inside(GRID, area_of([(HOLE, [])]), 1e-6).tolist() == [[2, 2]]


def test_a_line_without_an_area_is_refused() -> None:
    """Would catch a click of two points that selects nothing without a word."""
    with pytest.raises(ValueError, match="at least"):
        area_of([(((0.0, 0.0), (1.0, 1.0)), [])])


def test_tiles_of_a_class_that_qupath_annotated() -> None:
    """Would catch outlines that an import reads and a grid does not."""
    ring = [[0, 0], [250, 0], [250, 100], [0, 100], [0, 0]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": "Tumour"}},
    }
    found = read_qupath([("a.geojson", [feature])], SlideNames(SlideIndex({"a.svs": SLIDE})))
    shapes = [a.shape for a in found.annotations if a.label == "Tumour" and a.shape]
    area = area_of((part.outer, part.holes) for shape in shapes for part in shape)
    assert cells_inside(GRID, area, 1.0).tolist() == [[0, 0], [0, 1]]
    assert cells_inside(GRID, area, 0.5).tolist() == [[0, 0], [0, 1], [0, 2]]

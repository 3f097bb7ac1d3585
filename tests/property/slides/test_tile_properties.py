"""What holds for every grid of tiles, every tissue mask, and every outline over them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from client.slides.regions import area_of, cells_inside, shares_inside
from client.slides.slide import Slide, SlideReader, open_slide
from client.slides.tiles import Grid, grid_over, tissue_cells
from client.slides.tissue import Overview, overview
from client.slides.tissue_map import TissueMap
from tests.aperio import write_slide

sizes = st.integers(1, 3000)
scales = st.floats(0.1, 8.0)


@st.composite
def grids(draw: st.DrawFn) -> tuple[Slide, Grid, float, int, int]:
    """A slide, a grid over it, and what was asked: mpp, pixels, overlap."""
    slide = Slide("a.svs", Path("a.svs"), draw(scales), draw(sizes), draw(sizes), (1.0,))
    pixels = draw(st.integers(8, 600))
    overlap = draw(st.integers(0, pixels - 1) if draw(st.booleans()) else st.just(0))
    mpp = max(draw(scales), 60 * slide.mpp / pixels)  # at most some thousand tiles
    overlap = min(overlap, pixels // 2)
    return slide, grid_over(slide, mpp, pixels, overlap), mpp, pixels, overlap


@given(grids())
def test_a_grid_covers_the_slide_without_a_tile_too_many(
    asked: tuple[Slide, Grid, float, int, int],
) -> None:
    """Would catch a strip at the right or lower edge that no tile covers, a tile that lies wholly in another, and a
    gap."""
    slide, grid, *_ = asked
    assert 1 <= grid.stride <= grid.side
    for count, length in ((grid.rows, slide.height), (grid.columns, slide.width)):
        assert (count - 1) * grid.stride + grid.side >= length
        assert count == 1 or (count - 2) * grid.stride + grid.side < length


@given(grids())
def test_sizes_and_overlaps_are_as_asked_to_the_pixel(asked: tuple[Slide, Grid, float, int, int]) -> None:
    """Would catch a side, an overlap or a margin at another scale, and a grid that drifts."""
    slide, grid, mpp, pixels, overlap = asked
    assert abs(grid.side - pixels * mpp / slide.mpp) <= 0.5
    assert abs(grid.side - grid.stride - overlap * mpp / slide.mpp) <= 0.5
    last = grid.tile(grid.rows - 1, grid.columns - 1)
    assert (last.y, last.x) == ((grid.rows - 1) * grid.stride, (grid.columns - 1) * grid.stride)
    assert last.width == last.height == grid.side


@given(grids())
def test_tiles_come_once_and_row_by_row(asked: tuple[Slide, Grid, float, int, int]) -> None:
    """Would catch a tile that comes twice, one left out, and columns before rows."""
    _, grid, *_ = asked
    tiles = grid.tiles(grid.cells)
    places = [(tile.y, tile.x) for tile in tiles]
    assert len(set(places)) == grid.rows * grid.columns
    assert places == sorted(places)


@given(grids(), st.integers(0, 2**32 - 1))
def test_the_share_of_tissue_is_the_area_of_the_mask(
    asked: tuple[Slide, Grid, float, int, int], seed: int
) -> None:
    """Would catch mask pixels counted whole where a tile cuts them, and tissue beyond the slide's edge."""
    slide, grid, *_ = asked
    random = np.random.default_rng(seed)
    rows, columns = random.integers(1, 40, 2)
    mask = random.random((rows, columns)) < 0.5
    found = TissueMap(slide, np.zeros((rows, columns, 3), np.uint8), Overview(mask, ~mask))
    shares = found.shares(grid.tops, grid.lefts, grid.side)
    assert shares.shape == (grid.rows, grid.columns)
    row, column = random.integers(grid.rows), random.integers(grid.columns)
    tile = grid.tile(row, column)

    def covered(start: int, count: int, length: int) -> np.ndarray:
        """Of each of `count` mask pixels along `length`, how many level-0 pixels the tile covers."""
        edges = np.linspace(0, length, count + 1)
        return np.clip(np.minimum(edges[1:], start + grid.side) - np.maximum(edges[:-1], start), 0, None)

    inside = np.outer(covered(tile.y, rows, slide.height), covered(tile.x, columns, slide.width))[mask].sum()
    assert shares[row, column] == pytest.approx(inside / grid.side**2, abs=1e-6)
    assert len(tissue_cells(found, grid)) >= 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 70))
def test_any_picture_has_its_masks(seed: int, height: int, width: int) -> None:
    """Would catch a picture without glass, of one colour or of noise on which the mask fails or is not its own."""
    random = np.random.default_rng(seed)
    low, high = np.sort(random.integers(0, 256, 2))
    image = random.integers(low, high + 1, (height, width, 3), dtype=np.uint8)
    image[: height // 2] = random.integers(0, 256, 3)
    seen = overview(image)
    assert seen.tissue.shape == seen.ink.shape == (height, width)
    assert not (seen.tissue & seen.ink).any()
    again = overview(image.copy())
    assert (seen.tissue == again.tissue).all()
    assert (seen.ink == again.ink).all()
    mirrored = overview(np.ascontiguousarray(image[:, ::-1]))
    assert (mirrored.tissue[:, ::-1] == seen.tissue).all()


@st.composite
def outlines(draw: st.DrawFn) -> list[tuple[float, float]]:
    """A star-shaped outline somewhere on a slide of 1000 x 800."""
    x, y, reach = draw(st.floats(100, 900)), draw(st.floats(100, 700)), draw(st.floats(20, 400))
    count = draw(st.integers(3, 12))
    shares = draw(st.lists(st.floats(0.3, 1), min_size=count, max_size=count))
    turns = np.arange(count) * 2 * np.pi / count
    return [
        (x + reach * share * np.cos(turn), y + reach * share * np.sin(turn))
        for share, turn in zip(shares, turns, strict=True)
    ]


SLIDE = Slide("a.svs", Path("a.svs"), 0.5, 1000, 800, (1.0,))


@given(st.lists(outlines(), min_size=1, max_size=3), st.integers(20, 300))
def test_areas_are_shared_out_among_the_tiles(lines: list[list[tuple[float, float]]], side: int) -> None:
    """Would catch an area that is lost or counted twice, where outlines overlap too, and swapped axes."""
    grid = grid_over(SLIDE, 0.5, side)
    area = area_of((line, ()) for line in lines)
    shares = shares_inside(grid, area)
    whole = shapely.box(0, 0, grid.columns * side, grid.rows * side)
    assert shares.sum() * side**2 == pytest.approx(shapely.intersection(area, whole).area, rel=1e-6, abs=1e-3)
    inside, touched = cells_inside(grid, area, 1.0), cells_inside(grid, area, 1e-6)
    for row, column in inside:
        tile = grid.tile(int(row), int(column))
        assert area.buffer(1e-6).covers(shapely.box(tile.x, tile.y, tile.x + side, tile.y + side))
    assert {tuple(cell) for cell in inside.tolist()} <= {tuple(cell) for cell in touched.tolist()}


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    image = np.kron(random.integers(0, 256, (60, 80, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return write_slide(tmp_path_factory.mktemp("tiles") / "a.svs", image)


def read(reader: SlideReader, tile: object, mpp: float) -> np.ndarray:
    return reader.read(tile.x, tile.y, tile.width, tile.height, mpp)  # type: ignore[attr-defined]


@settings(max_examples=30)
@given(
    pixels=st.integers(8, 200),
    overlap=st.integers(0, 7),
    margin=st.integers(0, 50),
    pick=st.integers(0, 10**6),
)
def test_a_tile_is_the_crop_of_a_larger_read(
    slide: Path, pixels: int, overlap: int, margin: int, pick: int
) -> None:
    """Would catch a seam: a tile whose pixels are not those of its neighbour, of the picture around it, or of the
    whole, to the pixel; past the edge it is white."""
    with open_slide(slide) as reader:
        mpp = reader.slide.mpp
        grid = grid_over(reader.slide, mpp, pixels, overlap, margin)
        row, column = divmod(pick % (grid.rows * grid.columns), grid.columns)
        tile, around = grid.tile(row, column), grid.around(row, column)
        image, wide = read(reader, tile, mpp), read(reader, around, mpp)
        whole = reader.read(0, 0, reader.slide.width, reader.slide.height, mpp)
    assert image.shape == (pixels, pixels, 3)
    assert wide.shape == (pixels + 2 * margin, pixels + 2 * margin, 3)
    assert (wide[margin : margin + pixels, margin : margin + pixels] == image).all()
    inside = whole[tile.y : tile.y + pixels, tile.x : tile.x + pixels]
    assert (image[: inside.shape[0], : inside.shape[1]] == inside).all()
    assert (image[inside.shape[0] :] == 255).all()
    assert (image[:, inside.shape[1] :] == 255).all()


def test_seams_on_real_slides(shared_slides: Path) -> None:
    """Would catch seams that only real scanners' tiles show."""
    for name, mpp in (("CMU-1-Small-Region.svs", None), ("tcga-cr-7395-01a-01-ts1.svs", 0.25)):
        with open_slide(shared_slides / name, mpp) as reader:
            native = reader.slide.mpp
            grid = grid_over(reader.slide, native, 301, overlap=37, margin=29)
            whole = reader.read(0, 0, reader.slide.width, reader.slide.height, native)
            for row, column in itertools.product((0, 2, grid.rows - 1), (0, 3, grid.columns - 1)):
                tile = grid.tile(row, column)
                image = read(reader, tile, native)
                crop = whole[tile.y : tile.y + 301, tile.x : tile.x + 301]
                assert (image[: crop.shape[0], : crop.shape[1]] == crop).all()
                wide = read(reader, grid.around(row, column), native)
                assert (wide[29:330, 29:330] == image).all()

"""From level-0 pixels to the frame 0..1000, once, in regions that are not square."""

from __future__ import annotations

import pytest

from client.tasks.frame import boxes_to_frame, on_grid, polygons_to_frame
from client.tasks.overlap import mask
from client.tasks.registry import TASKS
from client.tasks.sample import Box, Boxes, Polygon, Polygons, Region, collinear

WIDE = Region(1000, 2000, 800, 200)
TALL = Region(1000, 2000, 200, 800)


def test_width_and_height_have_their_own_scale() -> None:
    """Would catch one scale for both axes, swapped axes, and a forgotten offset."""
    box = [1100, 2050, 1150, 2100]
    assert boxes_to_frame([box], WIDE).boxes == (Box(125, 250, 188, 500),)
    assert boxes_to_frame([box], TALL).boxes == (Box(500, 63, 750, 125),)
    outline = [[1100, 2050], [1150, 2050], [1150, 2100]]
    assert polygons_to_frame([outline], WIDE).polygons == (Polygon(((125, 250), (188, 250), (188, 500))),)
    assert polygons_to_frame([outline], TALL).polygons == (Polygon(((500, 63), (750, 63), (750, 125))),)


def test_the_whole_region_is_the_whole_frame() -> None:
    """Would catch an off-by-one at the far edges."""
    for region in (WIDE, TALL):
        corners = [region.x, region.y, region.x + region.width, region.y + region.height]
        assert boxes_to_frame([corners], region).boxes == (Box(0, 0, 1000, 1000),)


def test_objects_are_clipped_to_the_region() -> None:
    """Would catch coordinates off the frame, and objects that only touch the region counted as shown in
    it."""
    boxes = [
        [900, 1900, 1400, 2100],
        [900, 2000, 1000, 2100],
        [1800, 2000, 1900, 2100],
        [1700, 2150, 1900, 2300],
    ]
    assert boxes_to_frame(boxes, WIDE).boxes == (Box(0, 0, 500, 500), Box(875, 750, 1000, 1000))
    diamond = [[1000, 1900], [1200, 2100], [1000, 2300], [800, 2100]]  # its centre lies on the left edge
    (clipped,) = polygons_to_frame([diamond], WIDE).polygons
    assert clipped.bounds() == Box(0, 0, 250, 1000)
    beside = [[900, 2000], [1000, 2000], [1000, 2100]]
    assert polygons_to_frame([beside], WIDE).polygons == ()


def test_clipping_keeps_the_area_that_is_inside() -> None:
    """Would catch a clip that cuts corners: three quarters of this concave outline lie in the region."""
    region = Region(0, 0, 400, 400)
    arrow = [[-400, 0], [400, 0], [400, 400], [-400, 400], [0, 200]]
    (clipped,) = polygons_to_frame([arrow], region).polygons
    assert mask([clipped]).sum() == 250 * 250


@pytest.mark.parametrize("end", [90, 100, 110], ids="{} to the right".format)
def test_an_outline_that_crosses_itself_stays_what_it_is(end: int) -> None:
    """Would catch a bow-tie whose two halves cancel each other by sign, and which becomes its whole rectangle for it: twice
    the tissue as the truth; as read, and as written in steps that make it symmetric."""
    region = Region(0, 0, 1000, 1000)
    bow_tie = [[0, 0], [100, 100], [end, 0], [0, 100]]
    (found,) = polygons_to_frame([bow_tie], region).polygons
    assert found.points == tuple(map(tuple, bow_tie))
    crossed = Polygon(((0, 0), (101, 100), (104, 0), (2, 100)))
    (snapped,) = on_grid(Polygons((crossed,)), 10).polygons  # type: ignore[attr-defined]
    assert snapped.points == ((0, 0), (100, 100), (100, 0), (0, 100))
    assert mask([snapped]).sum() == pytest.approx(mask([snapped.bounds()]).sum() / 2, rel=0.05)


def test_points_on_one_line_are_no_outline() -> None:
    """Would catch a line that doubles back, or begins twice at one point, taken for an outline."""
    for line in ([(0, 0), (10, 10), (5, 5)], [(3, 3), (3, 3), (3, 9), (3, 5)], [(0, 7)] * 4):
        assert collinear(line)
    assert not collinear([(3, 3), (3, 3), (3, 9), (4, 5)])
    region = Region(0, 0, 1000, 1000)
    (found,) = polygons_to_frame([[[100, 200], [100.2, 300], [100, 400], [99.8, 300]]], region).polygons
    assert found.points == Box(100, 200, 101, 400).points


def test_order_and_points_are_kept() -> None:
    """Would catch sorting: the manifest's order is the order that is taught."""
    boxes = [[1300, 2100, 1400, 2200], [1000, 2000, 1100, 2100]]
    assert [box.x1 for box in boxes_to_frame(boxes, WIDE).boxes] == [375, 0]
    outline = [[1500, 2100], [1300, 2180], [1200, 2020]]
    assert polygons_to_frame([outline], WIDE).polygons[0].points == ((625, 500), (375, 900), (250, 100))


def test_tiny_objects_do_not_vanish() -> None:
    """Would catch a mitosis of a few pixels lost in a large region, at the far corner too."""
    region = Region(0, 0, 50_000, 50_000)
    for at in (0, 20_000, 49_990):
        box = [at, at, at + 10, at + 10]
        outline = [[at, at], [at + 10, at], [at + 10, at + 10]]
        (found,) = boxes_to_frame([box], region).boxes
        assert found.x2 - found.x1 == found.y2 - found.y1 == 1
        assert polygons_to_frame([outline], region).polygons[0].bounds() == found
        for step in (1, 10):
            (written,) = on_grid(Boxes((found,)), step).boxes  # type: ignore[attr-defined]
            assert written.x2 - written.x1 == step


def test_a_base_is_taught_coordinates_in_its_own_steps() -> None:
    """Would catch targets with more digits than a small base can learn, or coarser than a large one needs."""
    boxes = Boxes((Box(4, 5, 14, 996), Box(998, 0, 1000, 3)))
    in_tens = TASKS["detection"].render(on_grid(boxes, 10))
    assert in_tens == "<bbox>[0,10,10,1000]</bbox><bbox>[990,0,1000,10]</bbox>"
    outlines = Polygons((Polygon(((11, 12), (13, 14), (48, 12), (51, 96))),))
    assert TASKS["segmentation"].render(on_grid(outlines, 10)) == "<poly>[10,10,50,10,50,100]</poly>"
    assert on_grid(boxes, 1) == boxes
    assert on_grid(outlines, 1) == outlines


def test_an_outline_that_vanishes_on_the_grid_becomes_a_rectangle() -> None:
    """Would catch a written polygon that can't be read back."""
    snapped = on_grid(Polygons((Polygon(((501, 501), (503, 501), (503, 503))),)), 10)
    assert snapped == Polygons((Polygon(((500, 500), (510, 500), (510, 510), (500, 510))),))


@pytest.mark.parametrize("region", [WIDE, TALL])
def test_an_exact_answer_stays_nearly_perfect_in_its_written_form(region: Region) -> None:
    """Would catch a written grid so coarse that the model can't earn the reward; 60 x 60 pixels, of 200 the
    shorter side."""
    from client.tasks.overlap import matched_share

    truth = boxes_to_frame([[region.x + 41, region.y + 57, region.x + 101, region.y + 117]], region)
    for step, worth in ((10, 0.85), (1, 1.0)):
        written = on_grid(truth, step)
        assert isinstance(written, Boxes)
        assert matched_share(written.boxes, truth.boxes) >= worth


def test_small_objects_are_worth_learning_in_fine_steps_only() -> None:
    """States what a base in steps of ten can't learn: cells of 12 units, whose true answer then earns nothing half of the
    time."""
    from client.tasks.overlap import matched_share

    cells = [Box(x, x + 3, x + 12, x + 15) for x in range(100, 120)]
    earned = {
        step: sum(matched_share(on_grid(Boxes((c,)), step).boxes, (c,)) for c in cells) / len(cells)  # type: ignore[attr-defined]
        for step in (1, 10)
    }
    assert earned[1] == 1
    assert earned[10] < 0.5

"""A base's scales: what `fedpath.json` may say, and that every step that it may say keeps answers in the frame."""

from __future__ import annotations

import pytest

from client.model.base import Scales
from client.model.errors import BaseModelError
from client.tasks.frame import on_grid
from client.tasks.sample import FRAME, Box, Boxes, Polygon, Polygons

STEPS = [step for step in range(1, 101) if FRAME % step == 0]
EDGES = Boxes((Box(0, 0, FRAME, FRAME), Box(FRAME - 1, FRAME - 1, FRAME, FRAME), Box(0, 0, 1, 1)))


@pytest.mark.parametrize("step", STEPS)
def test_an_object_at_the_edge_stays_in_the_frame(step: int) -> None:
    """Catches a step whose multiples pass the region's far side: the answer would be none, and training would end there."""
    assert Scales(64, 0.5, 0.5, 576, step).coordinate_step == step
    snapped = on_grid(EDGES, step)
    assert isinstance(snapped, Boxes)
    assert snapped.boxes[0] == Box(0, 0, FRAME, FRAME)
    outlines = on_grid(Polygons(tuple(Polygon(box.points) for box in EDGES.boxes)), step)
    assert isinstance(outlines, Polygons)
    assert len(outlines.polygons) == len(EDGES.boxes)


@pytest.mark.parametrize("step", [0, 3, 7, 64, 101, 200])
def test_a_step_that_does_not_divide_the_frame_is_refused(step: int) -> None:
    """Catches a base that trains until the first object at a region's edge is drawn."""
    with pytest.raises(BaseModelError, match="divisor of 1000"):
        Scales(64, 0.5, 0.5, 576, step)

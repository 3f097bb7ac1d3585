"""What is drawn lies where the answer says, and what is shown is the best, the median and the worst."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.evaluation.chart import bars, lines, running_mean
from client.evaluation.drawing import PREDICTED, TRUE, at_level_0, drawn, outlines
from client.evaluation.examples import chosen
from client.evaluation.scores import Answered, Score
from client.tasks.frame import boxes_to_frame
from client.tasks.sample import Box, Boxes, Label, Polygon, Polygons, Region, Sample


def near(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() < 60)


def test_outlines_lie_where_the_frame_says_on_an_image_that_is_not_square() -> None:
    """Catches swapped axes, one scale for both sides, and colours exchanged."""
    image = np.full((100, 200, 3), 255, np.uint8)
    true, said = outlines(Boxes((Box(100, 200, 500, 800),))), outlines(Boxes((Box(600, 100, 900, 400),)))
    picture = np.asarray(drawn(image, true, said, side=400))
    assert picture.shape == (200, 400, 3)
    assert near(picture[100, 40], TRUE)  # left side of the true box, half way down
    assert near(picture[20, 300], PREDICTED)  # upper side of the predicted box
    assert near(picture[100, 300], (255, 255, 255))
    assert picture[100, 120].min() < 255  # the true one's inside is tinted,
    assert near(picture[50, 300], (255, 255, 255))  # the predicted one's is not


def test_what_a_segmenter_found_is_tinted_and_nothing_else() -> None:
    """Catches a picture that shows a box where the score is of the mask in it, and a mask that is turned over."""
    image, found = np.full((100, 200, 3), 255, np.uint8), np.zeros((64, 64), np.bool_)
    found[:16, 48:] = True  # the upper right quarter of a quarter
    said = outlines(Polygons((Box(600, 100, 980, 900),)))
    picture = np.asarray(drawn(image, (), said, side=400, found=found)).astype(int)
    tinted = picture[30, 350]
    assert np.abs(tinted - (255 - (255 - np.array(PREDICTED)) * 48 / 255)).max() < 3
    for row, column in ((30, 100), (150, 350), (100, 260)):
        assert near(picture[row, column], (255, 255, 255))


@given(
    region=st.builds(Region, *[st.integers(0, 5000)] * 2, *[st.integers(1000, 9000)] * 2),
    ends=st.tuples(*[st.integers(0, 999)] * 4).filter(lambda e: e[0] < e[2] and e[1] < e[3]),
)
def test_level_0_and_back_is_the_same_box(region: Region, ends: tuple[int, int, int, int]) -> None:
    """Catches an offset that is scaled, or a side measured by the other's length."""
    answer = Boxes((Box(*ends),))
    (shape,) = (at_level_0(outline, region) for outline in outlines(answer))
    (left, top), _, (right, bottom), _ = shape
    assert boxes_to_frame([(left, top, right, bottom)], region) == answer


def test_words_have_no_outlines() -> None:
    """Catches a label that is drawn."""
    assert outlines(Label("fat")) == outlines(None) == ()
    assert outlines(Polygons((Polygon(((0, 0), (9, 0), (9, 9))),))) == (((0, 0), (9, 0), (9, 9)),)


def scored(score: float, boxes: int) -> tuple[float, Answered]:
    found = Boxes(tuple(Box(n, n, n + 5, n + 5) for n in range(boxes)))
    return score, ("none", Sample("p", "s", Region(0, 0, 9, 9), "detection", f"{score}", found))


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ([], []),
        ([(0.5, 1)], [("best", 0.5, 1)]),
        ([(0.1, 1), (0.9, 1)], [("best", 0.9, 1), ("worst", 0.1, 1)]),
        (
            [(0.0, 1), (0.2, 1), (0.4, 1), (0.4, 3), (1.0, 2)],
            [("best", 1.0, 2), ("median", 0.4, 3), ("worst", 0.0, 1)],
        ),
        ([(1.0, 0), (1.0, 5), (0.0, 0), (0.0, 4)], [("best", 1.0, 5), ("median", 1.0, 0), ("worst", 0.0, 4)]),
    ],
    ids=["none", "one", "two", "five", "ties go to the one with most to see"],
)
def test_best_median_and_worst(given_: list[tuple[float, int]], wanted: list[tuple[str, float, int]]) -> None:
    """Catches a sample that is shown twice, and a best that is only the first."""
    found = [
        (which, score, len(outlines(s.answer)))
        for which, score, (_, s) in chosen([scored(*g) for g in given_])
    ]
    assert found == wanted


def test_charts_are_drawn_to_scale_and_escaped() -> None:
    """Catches a bar of the wrong length, and markup from a name."""
    picture = bars([Score("roi", "a<b", "m", 0.5, (0.25, 0.75), 4)])
    assert "a&lt;b" in picture
    assert 'width="210.0"' in picture  # half of the 420 between 0 and 1
    assert "M355.0 33H565.0" in picture
    curves = lines({"task/x": [(1, 0.0), (3, 1.5)], "one": [(2, 0.5)]}, "step", "mean reward")
    assert 'points="56.0,336.0 610.0,16.0"' in curves
    assert 'points="333.0,229.3"' in curves  # a step that asked another task alone keeps its place
    assert "1.50" in curves


def test_the_running_mean_looks_back_only() -> None:
    """Catches a curve that knows its future."""
    assert running_mean([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    values = [float(n) for n in range(20)]
    assert running_mean(values) == [0.0, *(n - 0.5 for n in range(1, 20))]

"""Figures for reports, against values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from client.tasks.metrics import average_precision_50
from client.tasks.overlap import dice, iou, mask
from client.tasks.registry import TASKS
from client.tasks.sample import Box, Boxes, Label, Polygon, Polygons, Region, Sample, Text
from client.tasks.task import Figure

A, B, C = Box(0, 0, 100, 100), Box(200, 0, 300, 100), Box(400, 0, 500, 100)
MISS = Box(800, 800, 900, 900)
NEAR_A = Box(0, 0, 100, 60)  # IoU 0.6 with A
HALF_A = Box(0, 0, 100, 50)  # IoU 0.5 with A
FAR_A = Box(0, 0, 100, 49)  # IoU 0.49 with A


@pytest.mark.parametrize(
    ("predicted", "true", "value"),
    [
        ([], [], 1.0),
        ([A], [], 0.0),
        ([], [A], 0.0),
        ([A], [A], 1.0),
        ([NEAR_A], [A], 1.0),
        ([HALF_A], [A], 1.0),
        ([FAR_A], [A], 0.0),
        ([A, B], [A, B], 1.0),
        ([A], [A, B], 1 / 2),
        ([MISS, A], [A], 1 / 2),
        ([A, MISS], [A], 1.0),
        ([A, MISS, B], [A, B], (1 + 2 / 3) / 2),
        ([MISS, A, B], [A, B], (2 / 3 + 2 / 3) / 2),  # the envelope lifts precision 1/2 at A to 2/3
        ([A, MISS, MISS, B, C], [A, B, C], (1 + 3 / 5 + 3 / 5) / 3),
        ([A, A], [A], 1.0),
        ([A, A, B], [A, B], (1 + 2 / 3) / 2),  # the second A is a false one
        ([NEAR_A, A], [A], 1.0),  # the first takes the true box, though the second fits better
    ],
)
def test_ap50_worked_by_hand(predicted: list[Box], true: list[Box], value: float) -> None:
    """Would catch a missing envelope, a double match, recall over predictions, or another rank than the
    answer's order."""
    assert average_precision_50(predicted, true) == pytest.approx(value)


def test_ap50_must_not_be_a_reward() -> None:
    """Shows why: exact boxes and fifty trailing false ones keep 1.0, where the reward falls to 1 / 51."""
    spam = [Box(10 * i, 950, 10 * i + 10, 990) for i in range(50)]
    assert average_precision_50([A, *spam], [A]) == 1.0
    sample = Sample("p", "s", Region(0, 0, 9, 9), "detection", "Where?", Boxes((A,)))
    text = TASKS["detection"].render(Boxes((A, *spam)))
    assert TASKS["detection"].score([(text, sample)]) == [1.0]
    assert TASKS["detection"].reward(text, sample) == pytest.approx(1 / 51)


def test_iou_worked_by_hand() -> None:
    """Would catch inclusive pixel edges (+1) and swapped axes: a quarter shared of two equal squares is
    1/7."""
    values = iou([A, Box(50, 50, 150, 150)], [A, B])
    np.testing.assert_allclose(values, [[1, 0], [1 / 7, 0]])
    assert iou([], [A]).shape == (0, 1)


def test_a_mask_covers_the_pixels_whose_centres_are_inside() -> None:
    """Would catch outlines drawn a pixel too wide, which doubles small regions, and rows taken for
    columns."""
    square = mask([Box(100, 200, 140, 300)])
    assert square.sum() == 10 * 25
    assert square[50:75, 25:35].all()
    assert mask([Box(0, 0, 1000, 1000)]).all()
    triangle = mask([Polygon(((0, 0), (1000, 0), (0, 500)))])
    assert triangle.sum() == pytest.approx(250 * 250 / 4, rel=0.01)
    assert triangle[2, 200]
    assert not triangle[200, 2]


def test_a_mask_is_a_union() -> None:
    """Would catch two overlapping outlines that cancel each other."""
    assert mask([Box(0, 0, 400, 400), Box(0, 0, 400, 400)]).sum() == 100 * 100


def test_a_concave_outline_keeps_its_notch() -> None:
    """Would catch a mask of the convex hull: a U has its square's area less the notch."""
    u = Polygon(((0, 0), (200, 0), (200, 600), (600, 600), (600, 0), (800, 0), (800, 800), (0, 800)))
    assert mask([u]).sum() == (800 * 800 - 400 * 600) // 16


def test_dice_worked_by_hand() -> None:
    """Would catch IoU reported as Dice: half of two equal squares shared is 1/2."""
    half = dice(mask([Box(0, 0, 400, 400)]), mask([Box(200, 0, 600, 400)]))
    assert half == 0.5
    assert dice(mask([]), mask([A])) == dice(mask([A]), mask([])) == dice(mask([A]), mask([MISS])) == 0
    nothing = Sample("p", "s", Region(0, 0, 9, 9), "segmentation", "Where?", Polygons(()))
    assert TASKS["segmentation"].score([("none", nothing)]) == [1]


def test_scores_keep_their_order_and_missing_answers_count_as_wrong() -> None:
    """Would catch a report over the answered questions only."""
    region = Region(0, 0, 10, 10)
    label = Sample("p", "s", None, "classification", "Which?", Label("fat"))
    assert TASKS["classification"].score([("fat", label), (None, label), ("fat", label)]) == [1, 0, 1]
    text = Sample("p", "s", None, "vqa", "Which?", Text("much fat"))
    assert TASKS["vqa"].score([("much", text), (None, text)]) == [pytest.approx(2 / 3), 0]
    empty = Sample("p", "s", region, "detection", "Where?", Boxes(()))
    assert TASKS["detection"].score([("none", empty), (None, empty), ("??", empty)]) == [1, 0, 0]
    blank = Sample("p", "s", region, "segmentation", "Where?", Polygons(()))
    assert TASKS["segmentation"].score([("none", blank), (None, blank), ("??", blank)]) == [1, 0, 0]


def test_every_task_names_its_metric() -> None:
    """Would catch a table whose heading says another thing than its figures."""
    assert {name: task.metric for name, task in TASKS.items()} == {
        "classification": "accuracy",
        "detection": "AP50",
        "segmentation": "Dice",
        "vqa": "accuracy or token F1",
    }


def test_a_task_reports_what_its_metric_hides() -> None:
    """Would catch a report in which a rare class, or open questions among closed ones, drown; and spellings of one class
    that count as two."""

    def ask(task: str, answer: Label | Text) -> Sample:
        return Sample("p", "s", None, task, "Which?", answer)

    spellings = [("tumor", ask("classification", Label(true))) for true in ("tumour", "tumor", "Tumour.")]
    missed = [(None, ask("classification", Label("fat")))]
    assert TASKS["classification"].figures(spellings + missed) == (
        Figure("balanced accuracy", [1, 1, 1, 0], ["tumour", "tumour", "tumour", "fat"]),
    )
    mixed = [("yes", ask("vqa", Text("yes"))), ("no", ask("vqa", Text("yes")))]
    opened = [("much", ask("vqa", Text("much fat")))]
    assert TASKS["vqa"].figures(mixed) == TASKS["vqa"].figures(opened) == ()
    assert TASKS["vqa"].figures(mixed + opened) == (
        Figure("accuracy of closed", [1, 0, None]),
        Figure("token F1 of open", [None, None, pytest.approx(2 / 3)]),
    )

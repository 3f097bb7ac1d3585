"""Samples and answers that can't be, and the pairs of scale and task that the method knows."""

from __future__ import annotations

import itertools

import pytest

from client.errors import AnswerError, SampleError
from client.tasks.registry import TASKS
from client.tasks.sample import Answer, Box, Boxes, Label, Polygon, Polygons, Region, Sample, Text
from privacy import experts

ROI = Region(0, 0, 100, 50)
ANSWERS: dict[str, Answer] = {
    "classification": Label("fat"),
    "detection": Boxes(()),
    "segmentation": Polygons(()),
    "vqa": Text("yes"),
}


@pytest.mark.parametrize(("task", "region"), list(itertools.product(ANSWERS, (ROI, None))))
def test_the_valid_pairs(task: str, region: Region | None) -> None:
    """Would catch a box asked of a whole slide: roi takes all four tasks, wsi classification and vqa."""
    if region is None and task in ("detection", "segmentation"):
        with pytest.raises(SampleError, match="wsi"):
            Sample("p", "s", region, task, "?", ANSWERS[task])
    else:
        sample = Sample("p", "s", region, task, "?", ANSWERS[task])
        assert sample.scale == ("roi" if region else "wsi")


def test_every_task_is_registered_once_and_says_so() -> None:
    """Would catch a task file that answers to another name than it is registered by, or to none."""
    assert list(TASKS) == list(experts.TASKS)
    assert {name: task.name for name, task in TASKS.items()} == {name: name for name in TASKS}
    assert {name: task.kind for name, task in TASKS.items()} == {k: type(v) for k, v in ANSWERS.items()}


def test_the_scales_are_those_of_the_method() -> None:
    """Would catch a pair of scale and task that the method does not know, or one that got lost."""
    assert sum(len(scales) for scales in experts.TASKS.values()) == 6
    assert {task for task, scales in experts.TASKS.items() if "wsi" in scales} == {"classification", "vqa"}
    assert all("roi" in scales for scales in experts.TASKS.values())


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"patient": ""}, "patient"),
        ({"slide": ""}, "slide"),
        ({"question": " "}, "question"),
        ({"task": "grading"}, "grading"),
        ({"answer": Boxes(())}, "choices"),
        ({"choices": ("stroma",)}, "choices"),
    ],
)
def test_an_impossible_sample_is_refused(field: dict[str, object], words: str) -> None:
    """Would catch a question that no task can reward, or one without a patient to protect."""
    good = {
        "patient": "p", "slide": "s", "region": ROI, "task": "classification", "question": "?",
        "answer": Label("fat"), "choices": ("fat", "stroma"),
    }  # fmt: skip
    Sample(**good)  # type: ignore[arg-type]
    with pytest.raises(SampleError, match=words):
        Sample(**{**good, **field})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "corners", [(0, 0, 0, 10), (0, 10, 10, 10), (5, 0, 4, 10), (-1, 0, 10, 10), (0, 0, 10, 1001)]
)
def test_an_impossible_box_is_refused(corners: tuple[int, int, int, int]) -> None:
    """Would catch a box without an area, which divides IoU by zero."""
    with pytest.raises(AnswerError):
        Box(*corners)


@pytest.mark.parametrize(
    "points", [(), ((0, 0), (10, 10)), ((0, 0), (10, 0), (5, 0)), ((0, 0), (10, 0), (10, 1001))]
)
def test_an_impossible_polygon_is_refused(points: tuple[tuple[int, int], ...]) -> None:
    """Would catch outlines without an area."""
    with pytest.raises(AnswerError):
        Polygon(points)


@pytest.mark.parametrize("text", ["", " ", " fat", "fat ", "much  fat", "much\nfat"])
def test_words_are_one_plain_line(text: str) -> None:
    """Would catch answers that do not read back as they were written."""
    for kind in (Label, Text):
        with pytest.raises(AnswerError):
            kind(text)


@pytest.mark.parametrize("region", [(-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 0, 5), (0, 0, 5, 0)])
def test_an_impossible_region_is_refused(region: tuple[int, int, int, int]) -> None:
    """Would catch a region without pixels."""
    with pytest.raises(SampleError):
        Region(*region)


@pytest.mark.parametrize(("task", "kind"), list(itertools.product(ANSWERS, ANSWERS)))
def test_a_task_writes_its_own_kind_of_answer_only(task: str, kind: str) -> None:
    """Would catch a training target of another task's grammar."""
    if task == kind:
        assert TASKS[task].parse(TASKS[task].render(ANSWERS[kind])) == ANSWERS[kind]
    else:
        with pytest.raises(AnswerError, match=task):
            TASKS[task].render(ANSWERS[kind])

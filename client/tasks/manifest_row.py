"""One row of a manifest, as text by column -> one `Sample`. Pure; the first thing wrong is raised as a
`CellError`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from client.errors import SampleError
from client.slides.slide import Slide
from client.tasks.cells import CellError, Cells, alike, json_list
from client.tasks.registry import TASKS
from client.tasks.sample import Answer, Region, Sample
from privacy import experts

COLUMNS = (
    "patient",
    "slide",
    "x",
    "y",
    "width",
    "height",
    "task",
    "question",
    "answer",
    "boxes",
    "polygons",
)
OPTIONAL = ("choices",)
_PLACE = ("x", "y", "width", "height")
_ANSWERS = ("answer", "boxes", "polygons")


def read_row(row: Mapping[str, str], slide: Slide) -> Sample:
    """The sample that a row asks about `slide`. Raises CellError naming the column."""
    region = _region(row, slide)
    task = row["task"]
    if task not in TASKS:
        raise CellError("task", f"unknown task {task!r}", f"write one of {', '.join(TASKS)}")
    if (scale := "wsi" if region is None else "roi") not in experts.TASKS[task]:
        advice = (
            "give the region x, y, width, height"
            if scale == "wsi"
            else "leave x, y, width, height empty: it is asked of whole slides"
        )
        raise CellError(
            "task", f"{task} can't be asked of a {'whole slide' if scale == 'wsi' else 'region'}", advice
        )
    if not row["question"]:
        raise CellError("question", "it is empty", "write the question that the model is to answer")
    choices = _choices(row)
    answer = _answer(Cells(row, slide, region, choices))
    try:
        return Sample(
            patient=row["patient"],
            slide=slide.name,
            region=region,
            task=task,
            question=row["question"],
            answer=answer,
            choices=choices,
        )
    except SampleError as error:
        raise CellError(
            "choices", str(error), "list every possible answer, the true one among them"
        ) from None


def _region(row: Mapping[str, str], slide: Slide) -> Region | None:
    if not any(row[column] for column in _PLACE):
        return None
    x, y, width, height = (_whole_number(row, column) for column in _PLACE)
    for column, start, length, end in (("x", x, width, slide.width), ("y", y, height, slide.height)):
        if start < 0 or start >= end:
            raise CellError(column, f"{start} lies outside the slide ({end} pixels)", "use level-0 pixels")
        side = "width" if column == "x" else "height"
        if length < 1 or start + length > end:
            what = f"the region ends at {start + length}, the slide at {end}"
            raise CellError(side, what, "use level-0 pixels, at least 1")
    return Region(x, y, width, height)


def _whole_number(row: Mapping[str, str], column: str) -> int:
    try:
        number = float(row[column])
    except ValueError:
        number = math.nan
    if not number.is_integer():
        advice = "give whole level-0 pixels in all of x, y, width, height, or in none for the whole slide"
        raise CellError(column, f"{row[column]!r} is not a whole number", advice)
    return int(number)


def _answer(cells: Cells) -> Answer:
    """The true answer, from the task's own column; the columns of other kinds must be empty."""
    task = TASKS[cells.text["task"]]
    for other in _ANSWERS:
        if other != task.column and cells.text[other]:
            raise CellError(
                other, f"task {task.name} has its answer in {task.column}", "leave this cell empty"
            )
    if not cells.text[task.column]:
        advice = "write the true answer"
        if task.column != "answer":
            advice += "; [] if there is none"
        raise CellError(task.column, "it is empty", advice)
    return task.read(cells)


def _choices(row: Mapping[str, str]) -> tuple[str, ...]:
    if not row["choices"]:
        return ()
    choices = json_list(row["choices"], "choices", '["yes", "no"]')
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        raise CellError("choices", "a choice is not text", 'write ["yes", "no"]')
    if pair := alike(choices):
        what = f"{pair[0]!r} and {pair[1]!r} are one answer, and whoever gives the wrong one would be right"
        raise CellError("choices", what, "leave one of two choices out, or word them so that they differ")
    return tuple(" ".join(choice.split()) for choice in choices)

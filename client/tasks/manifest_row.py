"""One row of a manifest, as text by column -> one `Sample`. Pure; the first thing wrong is raised as a
`CellError`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence

from client.errors import SampleError
from client.slides.slide import Slide
from client.tasks.frame import boxes_to_frame, polygons_to_frame
from client.tasks.sample import ANSWER_OF, TASKS_AT, Answer, Boxes, Label, Polygons, Region, Sample, Text
from client.tasks.wording import normalise

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
_ANSWER_COLUMN = {Label: "answer", Text: "answer", Boxes: "boxes", Polygons: "polygons"}


class CellError(Exception):
    """What is wrong with one cell of the row at hand."""

    def __init__(self, column: str, what: str, advice: str) -> None:
        super().__init__(column, what, advice)
        self.column, self.what, self.advice = column, what, advice


def read_row(row: Mapping[str, str], slide: Slide) -> Sample:
    """The sample that a row asks about `slide`. Raises CellError naming the column."""
    region = _region(row, slide)
    task = row["task"]
    if task not in ANSWER_OF:
        raise CellError("task", f"unknown task {task!r}", f"write one of {', '.join(ANSWER_OF)}")
    scale = "wsi" if region is None else "roi"
    if task not in TASKS_AT[scale]:
        raise CellError(
            "task", f"{task} can't be asked of a whole slide", "give the region x, y, width, height"
        )
    if not row["question"]:
        raise CellError("question", "it is empty", "write the question that the model is to answer")
    answer = _answer(row, slide, region)
    try:
        return Sample(
            patient=row["patient"],
            slide=slide.name,
            region=region,
            task=task,
            question=row["question"],
            answer=answer,
            choices=_choices(row),
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


def _answer(row: Mapping[str, str], slide: Slide, region: Region | None) -> Answer:
    """The answer of the kind that the task takes, from its column; the columns of other kinds must be
    empty."""
    kind = ANSWER_OF[row["task"]]
    column = _ANSWER_COLUMN[kind]
    for other in sorted({"answer", "boxes", "polygons"} - {column}):
        if row[other]:
            raise CellError(other, f"task {row['task']} has its answer in {column}", "leave this cell empty")
    if not row[column]:
        advice = (
            "write the true answer" if column == "answer" else "write the true answer; [] if there is none"
        )
        raise CellError(column, "it is empty", advice)
    if kind is Label or kind is Text:
        return _words(row[column], kind)
    if region is None:
        raise CellError("x", "boxes and polygons need a region", "give x, y, width, height")
    return _boxes(row[column], slide, region) if kind is Boxes else _polygons(row[column], slide, region)


def _words(cell: str, kind: type[Label] | type[Text]) -> Label | Text:
    if not normalise(cell):
        raise CellError("answer", f"{cell!r} holds no words", "write the true answer")
    return kind(" ".join(cell.split()))


def _boxes(cell: str, slide: Slide, region: Region) -> Boxes:
    boxes = _json_list(cell, "boxes", "[[x1, y1, x2, y2], ...]")
    for number, box in enumerate(boxes, start=1):
        if not (_is_numbers(box) and len(box) == 4):
            raise CellError("boxes", f"box {number} is not four numbers", "write [x1, y1, x2, y2]")
        if not (box[0] < box[2] and box[1] < box[3]):
            raise CellError("boxes", f"box {number} is empty or inverted", "write x1 < x2 and y1 < y2")
        _require_inside("boxes", f"box {number}", ((box[0], box[1]), (box[2], box[3])), slide)
    answer = boxes_to_frame(boxes, region)
    _require_all("boxes", "box", len(answer.boxes), len(boxes))
    return answer


def _polygons(cell: str, slide: Slide, region: Region) -> Polygons:
    polygons = _json_list(cell, "polygons", "[[[x, y], ...], ...]")
    for number, points in enumerate(polygons, start=1):
        whole = isinstance(points, list) and len(points) >= 3
        if not (whole and all(_is_numbers(point) and len(point) == 2 for point in points)):
            raise CellError(
                "polygons", f"polygon {number} is not three or more points", "write [[x, y], ...]"
            )
        _require_inside("polygons", f"polygon {number}", points, slide)
    answer = polygons_to_frame(polygons, region)
    _require_all("polygons", "polygon", len(answer.polygons), len(polygons))
    return answer


def _json_list(cell: str, column: str, form: str) -> list:
    try:
        value = json.loads(cell)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise CellError(column, "it is not a JSON list", f"write {form}")
    return value


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value
    )


def _require_inside(column: str, name: str, points: Iterable[Sequence[float]], slide: Slide) -> None:
    for x, y in points:
        if not (0 <= x <= slide.width and 0 <= y <= slide.height):
            what = f"{name} reaches ({x}, {y}), outside the slide ({slide.width} x {slide.height})"
            raise CellError(column, what, "use level-0 pixels of this slide")


def _require_all(column: str, noun: str, kept: int, given: int) -> None:
    if kept < given:
        what = f"{given - kept} of {given} lie wholly outside the row's region or have no area"
        raise CellError(column, what, f"leave out each {noun} that the region does not show")


def _choices(row: Mapping[str, str]) -> tuple[str, ...]:
    if not row["choices"]:
        return ()
    choices = _json_list(row["choices"], "choices", '["yes", "no"]')
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        raise CellError("choices", "a choice is not text", 'write ["yes", "no"]')
    return tuple(" ".join(choice.split()) for choice in choices)

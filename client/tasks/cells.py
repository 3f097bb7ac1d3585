"""The cells of a manifest's row that hold a true answer, as text -> answers in the frame.

Pure; the first thing wrong is raised as a `CellError`. Each task reads its own column by these.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from client.slides.slide import Slide
from client.tasks.frame import boxes_to_frame, polygons_to_frame
from client.tasks.grammar import parse_words
from client.tasks.sample import Boxes, Polygons, Region
from client.tasks.wording import normalise


class CellError(Exception):
    """What is wrong with one cell of the row at hand."""

    def __init__(self, column: str, what: str, advice: str) -> None:
        super().__init__(column, what, advice)
        self.column, self.what, self.advice = column, what, advice


@dataclass(frozen=True)
class Cells:
    """One row: its stripped text by column, the slide and region that it is about (None: the whole slide),
    and its choices."""

    text: Mapping[str, str]
    slide: Slide
    region: Region | None
    choices: tuple[str, ...]


def words(cells: Cells, column: str) -> str:
    """The cell's words on one line, as the task reads them back."""
    cell = cells.text[column]
    if (line := parse_words(cell)) is None:
        raise CellError(column, f"{cell!r} holds no words", "write the true answer")
    return line


def alike(choices: Iterable[str]) -> tuple[str, str] | None:
    """The first two choices that are one answer after normalisation, if any are: the wrong one would be worth as much as the
    true one.
    """
    seen: dict[str, str] = {}
    for choice in choices:
        if (answer := normalise(choice)) in seen:
            return seen[answer], choice
        seen[answer] = choice
    return None


def boxes(cells: Cells, column: str) -> Boxes:
    """A JSON list of boxes in level-0 pixels, all of them at least partly in the region."""
    region, found = _region(cells), json_list(cells.text[column], column, "[[x1, y1, x2, y2], ...]")
    for number, box in enumerate(found, start=1):
        if not (_is_numbers(box) and len(box) == 4):
            raise CellError(column, f"box {number} is not four numbers", "write [x1, y1, x2, y2]")
        if not (box[0] < box[2] and box[1] < box[3]):
            raise CellError(column, f"box {number} is empty or inverted", "write x1 < x2 and y1 < y2")
        _require_inside(column, f"box {number}", ((box[0], box[1]), (box[2], box[3])), cells.slide)
    answer = boxes_to_frame(found, region)
    _require_all(column, "box", len(answer.boxes), len(found))
    return answer


def polygons(cells: Cells, column: str) -> Polygons:
    """A JSON list of outlines in level-0 pixels, all of them at least partly in the region."""
    region, found = _region(cells), json_list(cells.text[column], column, "[[[x, y], ...], ...]")
    for number, points in enumerate(found, start=1):
        whole = isinstance(points, list) and len(points) >= 3
        if not (whole and all(_is_numbers(point) and len(point) == 2 for point in points)):
            raise CellError(column, f"polygon {number} is not three or more points", "write [[x, y], ...]")
        _require_inside(column, f"polygon {number}", points, cells.slide)
    answer = polygons_to_frame(found, region)
    _require_all(column, "polygon", len(answer.polygons), len(found))
    return answer


def json_list(cell: str, column: str, form: str) -> list[Any]:
    """The list that a cell holds; `form` shows how to write it."""
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise CellError(column, "it is not a JSON list", f"write {form}")
    return value


def _region(cells: Cells) -> Region:
    if cells.region is None:
        raise CellError("x", "boxes and polygons need a region", "give x, y, width, height")
    return cells.region


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and -math.inf < v < math.inf for v in value
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

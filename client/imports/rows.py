"""Annotations -> rows of a manifest: the questions that each field of a slide answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from client.imports.found import Annotation, Field, Found, ImportProblem
from client.imports.questions import Questions
from client.imports.shapes import Part, Rectangle, Ring, bounds, outline, parts_of
from client.imports.slides import Patients
from client.imports.telling import told
from client.slides.regions import area_of
from client.tasks.manifest_row import COLUMNS, OPTIONAL
from client.tasks.sample import Region
from privacy.progress import Tell, quietly

_DETAIL = 0.005  # of a field's longer side: half a step of the grid on which answers are written
_MOSTLY = 0.5  # an object belongs to a field that shows this share of it
_LARGE = 0.02  # or that it fills to this share

Row = Mapping[str, str]
Draft = tuple[str, Row]  # where it comes from; its cells by column


@dataclass(frozen=True)
class _Shown:
    """What a field shows of an annotation: its box, and its outlines if they are known."""

    box: Rectangle
    outlines: tuple[Ring, ...] | None


def question_rows(
    found: Found,
    questions: Questions,
    patients: Patients,
    side: int | None,
    only_present: bool,
    tell: Tell = quietly,
) -> tuple[list[Draft], list[ImportProblem]]:
    """All questions about all fields: for each class where it is, what it covers, how many there are.

    A field wider or higher than `side` pixels is cut into equal parts near that size; of one with an outline those parts
    are asked about that lie wholly inside. Where nothing of a class is to be seen the answer is "none", unless
    `only_present`. An object counts where a field shows half of it, or where it fills 2 % of the field. A field with any
    of a crowd of a class is asked what that covers, no more. Nothing is asked about a class on a slide where an object of it
    could not be read.
    """
    problems = [
        ImportProblem(
            f"slide {slide}", "nobody says whose it is", "add it to the patients' table or mend the pattern"
        )
        for slide in dict.fromkeys(field.slide for field in found.fields)
        if patients.of(slide) is None
    ]
    problems += [
        ImportProblem(
            a.where, "it has no class", 'classify it, or name such objects: "" = "nucleus" under [names]'
        )
        for a in found.annotations
        if not a.label and "" not in questions.words
    ]
    by_slide = {slide: _Annotations(mine) for slide, mine in _by_slide(found).items()}
    fields_of: dict[str, list[Field]] = {slide: [] for slide in by_slide}
    for field in found.fields:
        fields_of[field.slide].append(field)
    problems += [
        ImportProblem(a.where, "it lies outside all fields", "delete it, or annotate the region around it")
        for slide, annotations in by_slide.items()
        for a in annotations.outside(fields_of[slide])
    ]
    fields, more = _cut(found.fields, side)
    problems += more
    words = [word for word in dict.fromkeys(map(questions.word, found.labels)) if word]
    outlined = {questions.word(a.label) for a in found.annotations if a.shape is not None}
    unread = {(slide, label if label is None else questions.word(label)) for slide, label in found.unread}
    drafts: list[Draft] = []
    for field in told(fields, "writing questions", tell):
        shown = by_slide[field.slide].shown(field.region)
        patient = patients.of(field.slide)
        if patient is None or (field.whole and not shown) or (field.slide, None) in unread:
            continue
        for word in words:
            here = [(a, s) for a, s in shown if questions.word(a.label) == word]
            if (field.slide, word) not in unread and (here or not only_present):
                for task, question, answer in _asked(here, questions, word, word in outlined):
                    drafts.append((field.where, _row(patient, field, task, question, answer)))
    return drafts, problems


def _by_slide(found: Found) -> dict[str, list[Annotation]]:
    by_slide: dict[str, list[Annotation]] = {field.slide: [] for field in found.fields}
    for annotation in found.annotations:
        by_slide.setdefault(annotation.slide, []).append(annotation)
    return by_slide


class _Annotations:
    """The annotations of one slide, top to bottom and then left to right, to be looked up by place."""

    def __init__(self, annotations: Iterable[Annotation]) -> None:
        self._all = sorted(annotations, key=lambda a: (a.box[1], a.box[0]))
        self._boxes = np.array([a.box for a in self._all]).reshape(-1, 4)
        self._areas: dict[int, BaseGeometry] = {}  # of those that a field cuts

    def shown(self, region: Region) -> list[tuple[Annotation, _Shown]]:
        """Those that count in a region, with what of them it shows."""
        seen = ((self._all[k], self._show(k, region)) for k in self._near(region).tolist())
        return [(annotation, shown) for annotation, shown in seen if shown]

    def outside(self, fields: Iterable[Field]) -> list[Annotation]:
        """Those that none of the fields comes near to."""
        outside = np.ones(len(self._all), dtype=np.bool_)
        for field in fields:
            near = self._near(field.region)
            if field.outline is not None:
                near = near[shapely.intersects(_area(field.outline), shapely.box(*self._boxes[near].T))]
            outside[near] = False
        return [self._all[k] for k in np.flatnonzero(outside).tolist()]

    def _near(self, region: Region) -> NDArray[np.intp]:
        x1, y1, x2, y2 = _corners(region)
        b = self._boxes
        return np.flatnonzero((b[:, 0] < x2) & (b[:, 2] > x1) & (b[:, 1] < y2) & (b[:, 3] > y1))

    def _show(self, k: int, region: Region) -> _Shown | None:
        """What a region shows of an annotation: of an outlined one, the box is around what of its area lies in the region."""
        annotation, field = self._all[k], _corners(region)
        box, shape = _common(annotation.box, field), annotation.shape
        whole, part = _size(annotation.box), _size(box)
        if shape is not None and not _holds(field, bounds(shape)):
            if k not in self._areas:
                self._areas[k] = _area(*shape)
            seen = shapely.intersection(self._areas[k], shapely.box(*field))
            if not (shape := parts_of(seen)):
                return None
            box = bounds(shape)
            whole, part = self._areas[k].area, seen.area
        least = 0.0 if annotation.crowd else min(_MOSTLY * whole, _LARGE * region.width * region.height)
        if part < least or part == 0:
            return None
        tolerance = _DETAIL * max(region.width, region.height)
        return _Shown(box, None if shape is None else tuple(outline(part, tolerance) for part in shape))


def _asked(
    here: Sequence[tuple[Annotation, _Shown]], questions: Questions, word: str, outlined: bool
) -> list[tuple[str, str, str]]:
    """(task, question, answer) of what can be told about one class in one field."""
    asked: list[tuple[str, str, str]] = []
    if not any(annotation.crowd for annotation, _ in here):
        boxes = [[_pixel(v) for v in shown.box] for _, shown in here]
        asked.append(("detection", questions.ask("detection", word), json.dumps(boxes)))
        asked.append(("vqa", questions.ask("count", word), str(len(here))))
    if outlined and all(shown.outlines is not None for _, shown in here):
        lines = [
            [[_pixel(x), _pixel(y)] for x, y in line] for _, shown in here for line in shown.outlines or ()
        ]
        asked.append(("segmentation", questions.ask("segmentation", word), json.dumps(lines)))
    return [row for row in asked if row[1]]


def _row(patient: str, field: Field, task: str, question: str, answer: str) -> Row:
    column = {"detection": "boxes", "segmentation": "polygons"}.get(task, "answer")
    region = {k: str(getattr(field.region, k)) for k in ("x", "y", "width", "height")}
    cells = {"patient": patient, "slide": field.slide, "task": task, "question": question, column: answer}
    return dict.fromkeys(COLUMNS + OPTIONAL, "") | region | cells


def _cut(fields: Iterable[Field], side: int | None) -> tuple[list[Field], list[ImportProblem]]:
    """The fields, in parts near `side` x `side` pixels each; without a side, whole ones that were chosen."""
    cut: list[Field] = []
    problems: list[ImportProblem] = []
    for field in fields:
        region = field.region
        if side is not None:
            xs, ys = _ends(region.x, region.width, side), _ends(region.y, region.height, side)
            parts = [Region(x, y, x2 - x, y2 - y) for y, y2 in ys for x, x2 in xs]
            kept = parts if field.outline is None else _inside(parts, field.outline)
            cut += [replace(field, region=part) for part in kept]
            if not kept:
                what = f"no square of about {side} pixels lies wholly inside the region"
                problems.append(
                    ImportProblem(field.where, what, "give a smaller --field, or draw a rectangle")
                )
        elif field.whole:
            advice = "annotate regions in which all is annotated (class Region*), or give --field PIXELS"
            problems.append(ImportProblem(field.where, "no region says what to ask about", advice))
        elif field.outline is not None:
            advice = "give --field PIXELS: squares wholly inside are asked about; or draw a rectangle"
            problems.append(ImportProblem(field.where, "the region is no upright rectangle", advice))
        else:
            cut.append(field)
    return cut, problems


def _inside(parts: Sequence[Region], outline: Part) -> list[Region]:
    """Those that lie wholly inside the outline, and in none of its holes."""
    boxes = shapely.box(*np.array([_corners(part) for part in parts]).T)
    inside = shapely.covers(_area(outline), boxes)
    return [part for part, kept in zip(parts, inside.tolist(), strict=True) if kept]


def _area(*parts: Part) -> BaseGeometry:
    covered = area_of([(part.outer, part.holes) for part in parts])
    shapely.prepare(covered)
    return covered


def _ends(start: int, length: int, side: int) -> list[tuple[int, int]]:
    count = max(1, round(length / side))
    stops = [start + round(k * length / count) for k in range(count + 1)]
    return list(pairwise(stops))


def _corners(region: Region) -> Rectangle:
    return region.x, region.y, region.x + region.width, region.y + region.height


def _common(a: Rectangle, b: Rectangle) -> Rectangle:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _holds(outer: Rectangle, inner: Rectangle) -> bool:
    return _common(outer, inner) == inner


def _size(box: Rectangle) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _pixel(value: float) -> float:
    """As written: hundredths of a pixel at most, whole pixels without a point."""
    rounded = round(value, 2)
    return int(rounded) if rounded == int(rounded) else rounded

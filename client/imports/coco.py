"""COCO JSON -> annotations: boxes, polygons, run-length masks.

An image is a slide by its file name (or by the name without its suffix), at level 0; a whole image is one
field, in which every category of the file is annotated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from client.imports.found import Annotation, Field, Found, ImportProblem
from client.imports.masks import decode, trace
from client.imports.shapes import Part, Rectangle, Shape, as_ring, is_coordinate
from client.imports.slides import SlideNames
from client.tasks.sample import Region

_JSON = "export it again as COCO's object detection JSON"


class _RowError(Exception):
    """What is wrong with one entry, and what to do."""


def read_coco(document: object, slides: SlideNames) -> Found:
    """All that a COCO document says; each bad image, category or annotation is a problem and left out."""
    problems: list[ImportProblem] = []
    if not isinstance(document, dict):
        return Found((), (), (), (ImportProblem("the file", "it is no JSON object", _JSON),))
    labels, images, annotations = {}, {}, []
    for where, entry in _entries(document, "categories", problems):
        name = entry.get("name")
        if isinstance(name, str) and name.strip():
            labels[_key(entry)] = name.strip()
        else:
            problems.append(ImportProblem(where, "the category has no name", "name it"))
    for where, entry in _entries(document, "images", problems):
        try:
            images[_key(entry)] = _field(entry, where, slides)
        except _RowError as error:
            problems.append(ImportProblem(where, *error.args))
    for where, entry in _entries(document, "annotations", problems):
        try:
            annotations.append(_annotation(entry, where, images, labels))
        except _RowError as error:
            problems.append(ImportProblem(where, *error.args))
    fields = tuple(images.values())
    for field, first in _twice(fields):
        what = f"slide {field.slide!r} is that of {first} too"
        problems.append(ImportProblem(field.where, what, "give each slide one image"))
    return Found(fields, tuple(annotations), tuple(labels.values()), tuple(problems))


def _entries(
    document: Mapping[str, Any], part: str, problems: list[ImportProblem]
) -> list[tuple[str, dict[str, Any]]]:
    """The objects of one list, each with where it stands; whatever is no object is a problem."""
    rows = document.get(part)
    if not isinstance(rows, list):
        problems.append(ImportProblem(part, "the list is missing", _JSON))
        return []
    named = [(f"{part}[{number}] (id {_key(row)})", row) for number, row in enumerate(rows)]
    problems += [
        ImportProblem(where, "it is no JSON object", _JSON)
        for where, row in named
        if not isinstance(row, dict)
    ]
    return [(where, row) for where, row in named if isinstance(row, dict)]


def _key(entry: object) -> str:
    """An entry's id as text: files mix 1, 1.0 and "1"."""
    value = entry.get("id") if isinstance(entry, dict) else None
    return _id(value)


def _id(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _field(entry: Mapping[str, Any], where: str, slides: SlideNames) -> Field:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        raise _RowError("the image has no file_name", "name the slide's file")
    slide = slides.find(name)
    if isinstance(slide, str):
        raise _RowError(slide, "give the slides' folder, with this slide in it")
    size = (entry.get("width"), entry.get("height"))
    if size != (slide.width, slide.height):
        what = f"the image is {size[0]} x {size[1]} pixels, the slide {slide.width} x {slide.height}"
        raise _RowError(what, "export in level-0 pixels of the whole slide")
    return Field(slide.name, Region(0, 0, slide.width, slide.height), where)


def _annotation(
    entry: Mapping[str, Any], where: str, images: Mapping[str, Field], labels: Mapping[str, str]
) -> Annotation:
    field, label = images.get(_id(entry.get("image_id"))), labels.get(_id(entry.get("category_id")))
    if field is None:
        raise _RowError(
            f"its image {entry.get('image_id')!r} is missing or was refused", "mend the image first"
        )
    if label is None:
        raise _RowError(f"there is no category {entry.get('category_id')!r}", "list it under categories")
    try:
        shape = _shape(entry.get("segmentation"), field.region)
    except ValueError as error:
        raise _RowError(f"its segmentation can't be read: {error}", "mend or delete it") from None
    return Annotation(field.slide, label, _box(entry.get("bbox")), shape, where, bool(entry.get("iscrowd")))


def _box(value: object) -> Rectangle:
    if not (isinstance(value, list) and len(value) == 4 and all(map(is_coordinate, value))):
        raise _RowError("its bbox is not four numbers", "write [x, y, width, height]")
    x, y, width, height = (float(v) for v in value)
    if width <= 0 or height <= 0:
        raise _RowError(f"its bbox {value} is empty", "write [x, y, width, height] or delete it")
    return x, y, x + width, y + height


def _shape(value: object, region: Region) -> Shape | None:
    """The parts of polygons or of a mask; None where there are neither. Raises ValueError."""
    if not value:
        return None
    if isinstance(value, dict):
        parts = trace(decode(value, region.height, region.width))
        if not parts:
            raise ValueError("its mask is empty")
        return parts
    if not isinstance(value, list):
        raise ValueError("it is neither a list of polygons nor a mask")
    return tuple(Part(_ring(flat)) for flat in value)


def _ring(flat: object) -> tuple[tuple[float, float], ...]:
    if not (isinstance(flat, list) and len(flat) % 2 == 0 and all(map(is_coordinate, flat))):
        raise ValueError("a polygon is not a list of numbers x1, y1, x2, y2, ...")
    return as_ring(zip(flat[::2], flat[1::2], strict=True))


def _twice(fields: tuple[Field, ...]) -> list[tuple[Field, str]]:
    """Fields about a slide that an earlier one is about, with where that one stands."""
    first: dict[str, str] = {}
    return [(f, first[f.slide]) for f in fields if first.setdefault(f.slide, f.where) != f.where]

"""COCO JSON -> annotations: boxes, polygons, run-length masks.

An image is a slide by its file's name, at level 0; a whole image is one field, in which every category of the file is
annotated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from client.imports.found import Annotation, Field, Found, ImportProblem
from client.imports.masks import decode, trace
from client.imports.shapes import Part, Rectangle, Shape, as_ring, bounds, is_coordinate
from client.imports.slides import SlideNames
from client.imports.telling import told
from client.slides.slide import Slide
from client.tasks.sample import Region
from privacy.progress import Tell, quietly

_JSON = "export it again as COCO's object detection JSON"
_ALIKE = 0.5  # intersection over union of a box and the box around its outlines
_SLACK = 1.0  # pixels: some programs count the last pixel in, some do not
T = TypeVar("T")
_Entry = tuple[str, dict[str, Any]]  # where it stands, what it is


class _RowError(Exception):
    """What is wrong with one entry, and what to do."""


def read_coco(document: object, slides: SlideNames, tell: Tell = quietly) -> Found:
    """All that a COCO document says; each bad image, category or annotation is a problem and left out, with what belongs
    to it. Of several with one id, and of several images of one slide, none is taken: nobody knows which is meant.

    A category that others name as their supercategory, and that no annotation has, is a heading and no class.
    """
    problems: list[ImportProblem] = []
    if not isinstance(document, dict):
        return Found((), (), (), (ImportProblem("the file", "it is no JSON object", _JSON),))
    categories = _entries(document, "categories", problems)
    images = _entries(document, "images", problems)
    rows = _entries(document, "annotations", problems)
    names = _by_id(categories, _name, problems)
    fields = _one_a_slide(
        _by_id(images, lambda entry, where: _field(entry, where, slides), problems), problems
    )
    annotations: list[Annotation] = []
    unread: set[tuple[str, str | None]] = set()
    shared = _shared(rows)
    for where, entry in told(rows, "reading annotations", tell):
        field = fields.get(_id(entry.get("image_id")) or "")
        label = names.get(_id(entry.get("category_id")) or "")
        try:
            annotations.append(_annotation(entry, where, field, label, shared.get(where)))
        except _RowError as error:
            problems.append(ImportProblem(where, *error.args))
            if field is not None:
                unread.add((field.slide, label))
    used = {_id(entry.get("category_id")) for _, entry in rows}
    above = [
        entry.get("supercategory")
        for _, entry in categories
        if entry.get("supercategory") != entry.get("name")
    ]
    labels = tuple(name for key, name in names.items() if key in used or name not in above)
    return Found(tuple(fields.values()), tuple(annotations), labels, tuple(problems), frozenset(unread))


def _entries(document: Mapping[str, Any], part: str, problems: list[ImportProblem]) -> list[_Entry]:
    """The objects of one list, each with where it stands; whatever is no object is a problem."""
    rows = document.get(part)
    if not isinstance(rows, list):
        problems.append(ImportProblem(part, "the list is missing", _JSON))
        return []
    found: list[_Entry] = []
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            found.append((f"{part}[{number}] (id {row.get('id')})", row))
        else:
            problems.append(ImportProblem(f"{part}[{number}]", "it is no JSON object", _JSON))
    return found


def _id(value: object) -> str | None:
    """An id as text, for files mix 1, 1.0 and "1"; None where it is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else None


def _shared(entries: Iterable[_Entry]) -> dict[str, str]:
    """Where an entry stands -> where the others stand that have its id, for each that is not alone."""
    by_id: dict[str, list[str]] = {}
    for where, entry in entries:
        if (key := _id(entry.get("id"))) is not None:
            by_id.setdefault(key, []).append(where)
    return {
        where: ", ".join(other for other in same[:4] if other != where)
        for same in by_id.values()
        if len(same) > 1
        for where in same
    }


def _by_id(
    entries: Sequence[_Entry], read: Callable[[Mapping[str, Any], str], T], problems: list[ImportProblem]
) -> dict[str, T]:
    """What entries amount to, by id; those that can't be read or share an id are problems."""
    known: dict[str, T] = {}
    shared = _shared(entries)
    for where, entry in entries:
        key = _id(entry.get("id"))
        try:
            if key is None:
                raise _RowError("it has no id", "give it one, a number or text")
            _refuse_shared(shared.get(where))
            known[key] = read(entry, where)
        except _RowError as error:
            problems.append(ImportProblem(where, *error.args))
    return known


def _refuse_shared(others: str | None) -> None:
    if others is not None:
        raise _RowError(f"its id is that of {others} too", "give each its own, and name it where it is meant")


def _name(entry: Mapping[str, Any], _: str) -> str:
    name = entry.get("name")
    if not (isinstance(name, str) and name.strip()):
        raise _RowError("the category has no name", "name it")
    return name.strip()


def _field(entry: Mapping[str, Any], where: str, slides: SlideNames) -> Field:
    name, extra = entry.get("file_name"), entry.get("extra")
    if not isinstance(name, str) or not name:
        raise _RowError("the image has no file_name", "name the slide's file")
    slide = slides.find(name.rpartition("?d=")[2])  # Label Studio names files on its own disks so
    if not isinstance(slide, Slide) and isinstance(extra, dict) and isinstance(extra.get("name"), str):
        slide = slides.find(extra["name"])  # Roboflow keeps there what the file was called before
    if not isinstance(slide, Slide):
        raise _RowError(slide, "give the slides' folder, with this slide in it, or mend file_name")
    size = (entry.get("width"), entry.get("height"))
    if size != (slide.width, slide.height):
        what = f"the image is {size[0]} x {size[1]} pixels, the slide {slide.width} x {slide.height}"
        raise _RowError(what, "export in level-0 pixels of the whole slide")
    return Field(slide.name, Region(0, 0, slide.width, slide.height), where)


def _one_a_slide(fields: Mapping[str, Field], problems: list[ImportProblem]) -> dict[str, Field]:
    """The fields less those of a slide that several images claim to be."""
    of_slide: dict[str, list[str]] = {}
    for field in fields.values():
        of_slide.setdefault(field.slide, []).append(field.where)
    for slide, places in of_slide.items():
        for where in places if len(places) > 1 else ():
            others = ", ".join(place for place in places[:4] if place != where)
            what = f"slide {slide!r} is that of {others} too"
            problems.append(ImportProblem(where, what, "give each slide one image"))
    return {key: field for key, field in fields.items() if len(of_slide[field.slide]) == 1}


def _annotation(
    entry: Mapping[str, Any], where: str, field: Field | None, label: str | None, others: str | None
) -> Annotation:
    _refuse_shared(others)
    if field is None:
        what = f"its image {entry.get('image_id')!r} is missing or was refused"
        raise _RowError(what, "mend the image first")
    if label is None:
        what = f"its category {entry.get('category_id')!r} is missing or was refused"
        raise _RowError(what, "mend the category first")
    try:
        shape = _shape(entry.get("segmentation"), field.region)
    except ValueError as error:
        raise _RowError(f"its segmentation can't be read: {error}", "mend or delete it") from None
    attributes = entry.get("attributes")
    if shape is None and isinstance(attributes, dict) and attributes.get("rotation"):  # as CVAT has it
        what = f"its box is turned by {attributes['rotation']} degrees"
        raise _RowError(what, "draw its outline, or an upright box")
    box = _box(entry.get("bbox"), shape)
    if (crowd := entry.get("iscrowd") or 0) not in (0, 1):
        raise _RowError(
            f"its iscrowd is {crowd!r}", "write 1 for several objects that nobody told apart, else 0"
        )
    return Annotation(field.slide, label, box, shape, where, bool(crowd))


def _box(value: object, shape: Shape | None) -> Rectangle:
    """The box that is given, which may not contradict the outlines; where none is, the one around them."""
    around = bounds(shape) if shape is not None else None
    if around is not None and (value is None or value == []):
        return around
    if not (isinstance(value, list) and len(value) == 4 and all(map(is_coordinate, value))):
        raise _RowError("its bbox is not four numbers", "write [x, y, width, height]")
    x, y, width, height = (float(v) for v in value)
    if width <= 0 or height <= 0:
        raise _RowError(f"its bbox {value} is empty", "write [x, y, width, height] or delete it")
    box = (x, y, x + width, y + height)
    if around is not None and not _agree(box, around):
        what = f"its bbox {value} is not where its segmentation is"
        raise _RowError(what, "write [x, y, width, height], or delete the wrong one of the two")
    return box


def _agree(box: Rectangle, around: Rectangle) -> bool:
    if all(abs(a - b) <= _SLACK for a, b in zip(box, around, strict=True)):
        return True
    shared = (max(box[0], around[0]), max(box[1], around[1]), min(box[2], around[2]), min(box[3], around[3]))
    common = max(0.0, shared[2] - shared[0]) * max(0.0, shared[3] - shared[1])
    sizes = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, around))
    return common >= _ALIKE * (sizes - common)


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

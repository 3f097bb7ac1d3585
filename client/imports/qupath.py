"""QuPath's GeoJSON (one file a slide) -> annotations: drawn regions, detections, cells, with their classes.

Annotations of one class, `Region*` unless another is named, say in which parts of a slide everything is annotated. Other
classes whose name ends in `*` are QuPath's own and stand for no object.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from client.imports.found import Annotation, Field, Found, ImportProblem
from client.imports.questions import near
from client.imports.shapes import Part, Ring, Shape, area, as_ring, bounds, is_coordinate
from client.imports.slides import SlideNames
from client.slides.slide import Slide
from client.tasks.sample import Region

REGION_CLASS = "Region*"
_OBJECTS = ("annotation", "detection", "cell")
_OLD_OBJECTS = ("PathAnnotationObject", "PathDetectionObject", "PathCellObject")  # a feature's id, until 0.2
_EXPORT = "export objects from QuPath as GeoJSON"


class _FeatureError(Exception):
    """What is wrong with one feature, and what to do."""


def read_qupath(
    documents: Iterable[tuple[str, object]], slides: SlideNames, region_class: str = REGION_CLASS
) -> Found:
    """All that documents say, each given with its file's name, which is the slide's. They are asked for one by one.

    Each part of a marked region is a field. A slide without a marked region is one field, of which only what is annotated
    is known. A cell is taken by its outline, not its nucleus'. Each bad feature is a problem and left out; of several files
    about one slide none is taken.
    """
    fields: list[Field] = []
    annotations: list[Annotation] = []
    problems: list[ImportProblem] = []
    unread: set[tuple[str, str | None]] = set()
    files: dict[str, list[str]] = {}
    for name, document in documents:
        slide = slides.find(name)
        if isinstance(slide, str):
            problems.append(ImportProblem(name, slide, "name the file as its slide, in the slides' folder"))
            continue
        files.setdefault(slide.name, []).append(name)
        marked = False
        for where, feature in _features(document, name, problems):
            if (kind := _type(feature)) not in (*_OBJECTS, *_OLD_OBJECTS):
                what = f"it is of type {kind!r}"
                problems.append(ImportProblem(where, what, f"export {', '.join(_OBJECTS)} objects only"))
                continue
            label: str | None = None
            try:
                label = _label(_properties(feature).get("classification"))
                if label == region_class:
                    marked = True
                    fields += [_field(part, slide, where) for part in _shape(feature)]
                elif not label.endswith("*"):
                    shape = _shape(feature)
                    annotations.append(Annotation(slide.name, label, bounds(shape), shape, where))
            except _FeatureError as error:
                problems.append(ImportProblem(where, *error.args))
                unread.add((slide.name, label))
        if not marked:
            fields.append(Field(slide.name, Region(0, 0, slide.width, slide.height), name, whole=True))
    for slide_name, names in files.items():
        for name in names if len(names) > 1 else ():
            others = ", ".join(other for other in names if other != name)
            what = f"slide {slide_name!r} is that of {others} too"
            problems.append(ImportProblem(name, what, "give each slide one file"))
    labels = {annotation.label for annotation in annotations}
    if region_class != REGION_CLASS and fields and all(field.whole for field in fields):
        what = f"no annotation is of the class {region_class!r}"
        problems.append(ImportProblem("--regions", what, near(region_class, labels)))
    return Found(
        tuple(field for field in fields if len(files[field.slide]) == 1),
        tuple(annotation for annotation in annotations if len(files[annotation.slide]) == 1),
        tuple(sorted(labels)),
        tuple(problems),
        frozenset(unread),
    )


def _features(document: object, name: str, problems: list[ImportProblem]) -> list[tuple[str, dict[str, Any]]]:
    """The features of a collection, a list or a single feature, each with where it stands; those inside of others too."""
    if isinstance(document, dict):
        document = document.get("features") if document.get("type") == "FeatureCollection" else [document]
    if not isinstance(document, list):
        problems.append(ImportProblem(name, "it holds no list of features", _EXPORT))
        return []
    found = []
    for number, feature in enumerate(document, 1):
        identity = feature.get("id") if isinstance(feature, dict) else None
        where = f"{name}, feature {number}" + (f" (id {identity})" if identity else "")
        if not (isinstance(feature, dict) and feature.get("type") == "Feature"):
            problems.append(ImportProblem(where, "it is no GeoJSON feature", _EXPORT))
            continue
        found.append((where, feature))
        if children := _properties(feature).get("childObjects"):
            found += _features(children, where, problems)
    return found


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _type(feature: Mapping[str, Any]) -> object:
    """What QuPath says that it is, which has stood in several places; where it says nothing, QuPath reads an annotation."""
    properties, identity = _properties(feature), feature.get("id")
    old = identity if isinstance(identity, str) and identity.endswith("Object") else "annotation"
    return next((properties[key] for key in ("objectType", "object_type", "type") if key in properties), old)


def _label(value: object) -> str:
    """The class's full name, "" for none. A derived one ("Tumour: Positive") is written as a list of names, in old files
    as a name below a parent's."""
    if value is None:
        return ""
    names = value.get("names", [value.get("name")]) if isinstance(value, dict) else None
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise _FeatureError("its classification has no name", "classify it in QuPath")
    parent = _label(value.get("parentClass")) if isinstance(value, dict) else ""
    return ": ".join([parent] * bool(parent) + [name.strip() for name in names])


def _shape(feature: Mapping[str, Any]) -> Shape:
    geometry = feature.get("geometry")
    geometry = geometry if isinstance(geometry, dict) else {}
    parts, kind = geometry.get("coordinates"), geometry.get("type")
    if kind not in ("Polygon", "MultiPolygon"):
        raise _FeatureError(f"a geometry of type {kind!r} has no area", "draw a closed outline or delete it")
    plane = geometry.get("plane")
    if isinstance(plane, dict) and any(plane.get(axis) for axis in ("z", "t")):
        raise _FeatureError(
            "it lies on another focal plane or time than the first", "keep objects of one plane"
        )
    try:
        shape = tuple(_part(polygon) for polygon in ([parts] if kind == "Polygon" else _list(parts)))
        if not shape:
            raise ValueError("it has no coordinates")
    except ValueError as error:
        raise _FeatureError(f"its geometry can't be read: {error}", "draw it again or delete it") from None
    return shape


def _part(rings: object) -> Part:
    outer, *holes = (_ring(ring) for ring in _list(rings) or [None])
    return Part(outer, tuple(holes))


def _ring(points: object) -> Ring:
    pairs = []
    for point in _list(points):
        if not (isinstance(point, list) and len(point) >= 2 and all(is_coordinate(v) for v in point[:2])):
            raise ValueError("a point is not [x, y]")
        pairs.append((float(point[0]), float(point[1])))
    return as_ring(pairs)


def _list(value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ValueError("its coordinates are not nested lists")
    return value


def _field(part: Part, slide: Slide, where: str) -> Field:
    """The whole pixels of the slide around a part of a marked region; with its outline where that is no upright
    rectangle."""
    box = bounds((part,))
    x1, y1 = max(0, round(box[0])), max(0, round(box[1]))
    x2, y2 = min(slide.width, round(box[2])), min(slide.height, round(box[3]))
    if x1 >= x2 or y1 >= y2:
        raise _FeatureError("the region lies outside the slide", "draw it on the slide")
    full = (box[2] - box[0]) * (box[3] - box[1])
    upright = not part.holes and math.isclose(area(part.outer), full, rel_tol=1e-9)
    return Field(slide.name, Region(x1, y1, x2 - x1, y2 - y1), where, None if upright else part)

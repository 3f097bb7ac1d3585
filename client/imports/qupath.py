"""QuPath's GeoJSON (one file a slide) -> annotations: drawn regions, detections, cells, with their classes.

Annotations of one class, `Region*` unless another is named, say in which parts of a slide everything is
annotated. Other classes whose name ends in `*` are QuPath's own and stand for no object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from client.imports.found import Annotation, Field, Found, ImportProblem
from client.imports.shapes import Part, Rectangle, Ring, Shape, as_ring, bounds, is_coordinate
from client.imports.slides import SlideNames
from client.slides.slide import Slide
from client.tasks.sample import Region

REGION_CLASS = "Region*"
_OBJECTS = ("annotation", "detection", "cell")
_EXPORT = "export objects from QuPath as GeoJSON"


class _FeatureError(Exception):
    """What is wrong with one feature, and what to do."""


def read_qupath(
    documents: Mapping[str, object], slides: SlideNames, region_class: str = REGION_CLASS
) -> Found:
    """All that the documents say, by file name (the slide's name, suffix replaced or followed by .geojson).

    A slide without an annotated region is one field, of which only what is annotated is known. A cell is
    taken by its outline, not its nucleus'. Each bad feature is a problem and left out.
    """
    fields: list[Field] = []
    annotations: list[Annotation] = []
    problems: list[ImportProblem] = []
    first: dict[str, str] = {}
    for name, document in documents.items():
        slide = slides.find(name.removesuffix(".json").removesuffix(".geojson"))
        if isinstance(slide, str):
            problems.append(ImportProblem(name, slide, "name the file as its slide, in the slides' folder"))
            continue
        if first.setdefault(slide.name, name) != name:
            what = f"slide {slide.name!r} is that of {first[slide.name]} too"
            problems.append(ImportProblem(name, what, "give each slide one file"))
            continue
        known = len(fields)
        for where, feature in _features(document, name, problems):
            try:
                label, shape = _read(feature)
                if label == region_class:
                    fields.append(Field(slide.name, _region(bounds(shape), slide), where))
                elif not label.endswith("*"):
                    annotations.append(Annotation(slide.name, label, bounds(shape), shape, where))
            except _FeatureError as error:
                problems.append(ImportProblem(where, *error.args))
        if len(fields) == known:
            fields.append(Field(slide.name, Region(0, 0, slide.width, slide.height), name, whole=True))
    labels = tuple(sorted({annotation.label for annotation in annotations}))
    return Found(tuple(fields), tuple(annotations), labels, tuple(problems))


def _features(document: object, name: str, problems: list[ImportProblem]) -> list[tuple[str, dict[str, Any]]]:
    """The features of a collection, a list or a single feature, each with where it stands."""
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


def _read(feature: Mapping[str, Any]) -> tuple[str, Shape]:
    """The class ("" for none) and the outlines of one feature."""
    properties = _properties(feature)
    kind = properties.get("objectType", properties.get("object_type", "annotation"))
    if kind not in _OBJECTS:
        raise _FeatureError(f"it is of type {kind!r}", f"export {', '.join(_OBJECTS)} objects only")
    geometry = feature.get("geometry")
    geometry = geometry if isinstance(geometry, dict) else {}
    parts, kind = geometry.get("coordinates"), geometry.get("type")
    if kind not in ("Polygon", "MultiPolygon"):
        raise _FeatureError(f"a geometry of type {kind!r} has no area", "draw a closed outline or delete it")
    try:
        polygons = [parts] if kind == "Polygon" else _list(parts)
        shape = tuple(_part(polygon) for polygon in polygons)
        if not shape:
            raise ValueError("it has no coordinates")
    except ValueError as error:
        raise _FeatureError(f"its geometry can't be read: {error}", "draw it again or delete it") from None
    return _label(properties.get("classification")), shape


def _label(value: object) -> str:
    """The class's full name. A derived one ("Tumour: Positive") is written as a list of names, in old
    files as a name below a parent's."""
    if value is None:
        return ""
    names = value.get("names", [value.get("name")]) if isinstance(value, dict) else None
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise _FeatureError("its classification has no name", "classify it in QuPath")
    parent = _label(value.get("parentClass")) if isinstance(value, dict) else ""
    return ": ".join([parent] * bool(parent) + [name.strip() for name in names])


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


def _region(box: Rectangle, slide: Slide) -> Region:
    """The whole pixels that a region annotation covers."""
    x1, y1 = max(0, round(box[0])), max(0, round(box[1]))
    x2, y2 = min(slide.width, round(box[2])), min(slide.height, round(box[3]))
    if x1 >= x2 or y1 >= y2:
        raise _FeatureError("the region lies outside the slide", "draw it on the slide")
    return Region(x1, y1, x2 - x1, y2 - y1)

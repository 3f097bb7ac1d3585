"""Imports on anything that JSON can hold: problems, never an exception; what is read is inside its field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import shapely
from hypothesis import given
from hypothesis import strategies as st

from client.imports.coco import read_coco
from client.imports.found import Found
from client.imports.questions import Questions
from client.imports.qupath import read_qupath
from client.imports.rows import question_rows
from client.imports.slides import Patients, SlideNames
from client.slides.index import SlideIndex
from client.slides.slide import Slide
from client.tasks.manifest_row import read_row

SLIDES = SlideNames(SlideIndex({"p1.svs": Slide("p1.svs", Path("p1.svs"), 0.5, 300, 200, (1.0,))}))
PATIENTS = Patients(None, re.compile("(p1)"))
KEYS = [
    *(
        "id",
        "type",
        "file_name",
        "width",
        "height",
        "image_id",
        "category_id",
        "bbox",
        "segmentation",
        "size",
    ),
    *(
        "counts",
        "name",
        "names",
        "iscrowd",
        "features",
        "geometry",
        "coordinates",
        "properties",
        "objectType",
    ),
    *("classification", "parentClass", "childObjects"),
]
VALUES = ["p1.svs", "Feature", "FeatureCollection", "Polygon", "MultiPolygon", "cell", "Region*", "gland"]
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 400),
    st.floats(),
    st.sampled_from(VALUES),
    st.text("0ab<~P", max_size=9),
)
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=30,
)
numbers = st.floats(-50, 350, allow_nan=False).map(lambda v: round(v, 1))
rings = st.lists(st.tuples(numbers, numbers).map(list), min_size=3, max_size=8)


def told(found: Found, side: int | None) -> tuple[list[Any], int]:
    """The samples that come of it, and how many problems."""
    drafts, problems = question_rows(found, Questions(), PATIENTS, side, False)
    samples = [read_row(row, SLIDES.slides["p1.svs"]) for _, row in drafts]  # none of which is refused
    return samples, len(found.problems) + len(problems)


@given(anything, anything, anything)
def test_any_coco_document_is_read_or_refused(images: Any, annotations: Any, categories: Any) -> None:
    """Catches a file of the wrong form that ends in a reader's own exception."""
    told(read_coco({"images": images, "annotations": annotations, "categories": categories}, SLIDES), None)


@given(rings, st.integers(20, 120))
def test_squares_of_a_region_lie_inside_its_outline(outline: Any, side: int) -> None:
    """Catches a field that claims what lies beside a region that was drawn by hand, whatever its form."""
    region = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [outline]},
        "properties": {"objectType": "annotation", "classification": {"name": "Region*"}},
    }
    cell = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [300, 0], [300, 200], [0, 200]]]},
        "properties": {"objectType": "cell", "classification": {"name": "cell"}},
    }
    found = read_qupath([("p1.geojson", json.loads(json.dumps([region, cell])))], SLIDES)
    area = shapely.make_valid(shapely.Polygon(outline))
    for row in question_rows(found, Questions(), PATIENTS, side, False)[0]:
        x, y, width, height = (int(row[1][key]) for key in ("x", "y", "width", "height"))
        square = shapely.box(x, y, x + width, y + height)
        rounded = 0.51 * (width + height)  # an upright rectangle is given to the nearest pixels
        assert shapely.area(shapely.difference(square, area)) <= rounded


@given(anything)
def test_any_geojson_document_is_read_or_refused(document: Any) -> None:
    """Catches the same in QuPath's files."""
    told(read_qupath([("p1.geojson", document)], SLIDES), 100)


@given(
    st.lists(rings, max_size=4),
    st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=4),
    st.sampled_from([None, 64, 150]),
)
def test_coco_objects_are_kept_or_told(outlines: list[Any], boxes: list[Any], side: int | None) -> None:
    """Catches objects of any shape and place, on and off the slide, that are lost, or that come out of their field; and
    questions about a class of which some could not be read."""
    flat = [{"segmentation": [[v for point in ring for v in point]]} for ring in outlines]
    annotations = [*flat, *({"bbox": list(box)} for box in boxes)]
    document = {
        "images": [{"id": 1, "file_name": "p1.svs", "width": 300, "height": 200}],
        "categories": [{"id": 1, "name": "gland"}],
        "annotations": [{"image_id": 1, "category_id": 1, **annotation} for annotation in annotations],
    }
    found = read_coco(json.loads(json.dumps(document)), SLIDES)
    samples, problems = told(found, side)
    assert problems <= len(annotations)
    assert bool(samples) != bool(found.unread)

"""QuPath's GeoJSON: classes, holes, several parts, marked regions; every bad feature is named at once."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from client.imports.found import ImportProblem
from client.imports.questions import Questions
from client.imports.qupath import read_qupath
from client.imports.rows import Row, question_rows
from client.imports.slides import Patients, SlideNames
from client.slides.index import SlideIndex
from client.slides.slide import Slide
from client.tasks.manifest_row import read_row
from client.tasks.overlap import mask
from client.tasks.sample import Polygons


def slides_of(*names: str) -> SlideNames:
    return SlideNames(SlideIndex({n: Slide(n, Path(n), 0.25, 2000, 1000, (1.0,)) for n in names}))


SLIDES = slides_of("p1.svs", "p2.ndpi")
PATIENTS = Patients(None, re.compile(r"^(p\d)"))


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(
    name: str | None, *rings: list[list[float]], kind: str = "annotation", **more: Any
) -> dict[str, Any]:
    classification = {} if name is None else {"classification": {"name": name, "color": [200, 0, 0]}}
    return {
        "type": "Feature",
        "id": "0b6b1b2e",
        "geometry": {"type": "Polygon", "coordinates": list(rings)},
        "properties": {"objectType": kind, "isLocked": True, **classification, **more},
    }


REGION = feature("Region*", square(100, 100, 400))
TUMOUR = feature("Tumor", square(150, 150, 200), square(200, 200, 100))  # with a hole
CELL = feature("Immune cells", square(420, 420, 20), kind="cell")
CELL["geometry"]["plane"] = {"c": -1, "z": 0, "t": 0}  # the first, as QuPath may write it
OUTSIDE = feature("Immune cells", square(1500, 500, 20), kind="detection")
PARTS = {
    **feature("Tumor"),
    "geometry": {"type": "MultiPolygon", "coordinates": [[square(110, 400, 40)], [square(200, 440, 40)]]},
}


def imported(
    *features: dict[str, Any],
    side: int | None = None,
    questions: Questions | None = None,
    region: str = "Region*",
) -> tuple[list[Row], list[ImportProblem]]:
    document = {"type": "FeatureCollection", "features": list(features)}
    found = read_qupath([("p1.geojson", document)], SLIDES, region)
    drafts, problems = question_rows(found, questions or Questions(), PATIENTS, side, False)
    rows = [row for _, row in drafts]
    assert all(read_row(row, SLIDES.slides[row["slide"]]) for row in rows)
    return rows, [*found.problems, *problems]


def test_a_marked_region_is_asked_about() -> None:
    """Catches coordinates relative to the region, a class asked where nobody looked, a cell that is lost, and
    parts of one object counted as several objects."""
    rows, problems = imported(REGION, TUMOUR, CELL, PARTS)
    assert problems == []
    told = {row["question"]: row for row in rows}
    assert len(told) == len(rows) == 6
    assert {(row["x"], row["y"], row["width"], row["height"]) for row in rows} == {
        ("100", "100", "400", "400")
    }
    assert json.loads(told["Box every Tumor."]["boxes"]) == [[150, 150, 350, 350], [110, 400, 240, 480]]
    assert told["Count every Tumor."]["answer"] == "2"
    assert told["Count every Immune cells."]["answer"] == "1"
    assert len(json.loads(told["Outline every Tumor."]["polygons"])) == 3


def test_a_hole_stays_a_hole() -> None:
    """Catches lumina and necrosis filled in: 200 x 200 less 100 x 100 of 400 x 400 pixels."""
    rows, _ = imported(REGION, TUMOUR)
    (row,) = [row for row in rows if row["task"] == "segmentation"]
    answer = read_row(row, SLIDES.slides["p1.svs"]).answer
    assert isinstance(answer, Polygons)
    assert mask(answer.polygons).mean() == pytest.approx(3 / 16, rel=0.01)
    assert not mask(answer.polygons)[94, 94]


def test_without_regions_only_annotated_parts_are_asked_about() -> None:
    """Catches "none" taught of tissue that nobody looked at, and a whole slide asked about at once."""
    _, problems = imported(TUMOUR, OUTSIDE)
    assert ["no region" in problem.what for problem in problems] == [True]
    rows, problems = imported(TUMOUR, OUTSIDE, side=500)
    assert problems == []
    assert {(row["x"], row["y"]) for row in rows} == {("0", "0"), ("1500", "500")}
    assert "tile" not in {row["question"] for row in rows}


L_SHAPED = feature("Region*", [[100, 100], [500, 100], [500, 300], [300, 300], [300, 500], [100, 500]])
ELLIPSE = feature(
    "Region*",
    [[300 + 200 * math.cos(k * math.pi / 60), 300 + 200 * math.sin(k * math.pi / 60)] for k in range(120)],
)
HOLED = feature("Region*", square(100, 100, 400), square(200, 200, 50))
TILTED = feature("Region*", [[300, 100], [500, 300], [300, 500], [100, 300]])


def fields(rows: list[Row]) -> set[tuple[int, int, int]]:
    assert all(abs(int(row["width"]) - int(row["height"])) <= 1 for row in rows)
    return {(int(row["x"]), int(row["y"]), int(row["width"])) for row in rows}


@pytest.mark.parametrize("region", [L_SHAPED, ELLIPSE, HOLED, TILTED])
def test_a_region_of_another_form_is_not_its_bounding_box(region: dict[str, Any]) -> None:
    """Catches "none" taught of what lies beside the drawn region, where nobody looked."""
    rows, (problem,) = imported(region, TUMOUR)
    assert rows == []
    assert problem.where.startswith("p1.geojson, feature 1")
    assert "--field" in problem.advice


def test_squares_wholly_inside_a_region_are_asked_about() -> None:
    """Catches squares in the notch of an L, over a hole, or over the edge of an ellipse; and objects of the region that
    are called outside because no square shows them."""
    rows, problems = imported(L_SHAPED, feature("Tumor", square(110, 110, 60)), CELL, side=100)
    assert [("outside" in p.what, p.where) for p in problems] == [
        (True, "p1.geojson, feature 3 (id 0b6b1b2e)")
    ]
    assert fields(rows) == {
        (x, y, 100) for x in (100, 200, 300, 400) for y in (100, 200, 300, 400) if x < 300 or y < 300
    }
    rows, problems = imported(HOLED, feature("Tumor", square(110, 110, 60)), side=100)
    assert problems == []
    assert len(fields(rows)) == 15
    assert (200, 200, 100) not in fields(rows)
    edge = feature("Tumor", square(290, 105, 20))
    rows, problems = imported(ELLIPSE, edge, side=100)
    assert problems == []
    assert fields(rows) == {(x, y, 100) for x in (200, 300) for y in (200, 300)}
    _, (problem,) = imported(ELLIPSE, edge, side=400)
    assert "no square" in problem.what


def test_each_part_of_a_marked_region_is_a_field() -> None:
    """Catches two squares that were merged into one region, asked about together with all that lies between them."""
    parts = {"type": "MultiPolygon", "coordinates": [[square(100, 100, 50)], [square(300, 100, 50)]]}
    rows, problems = imported(REGION | {"geometry": parts}, feature("Tumor", square(310, 110, 20)))
    assert problems == []
    assert fields(rows) == {(100, 100, 50), (300, 100, 50)}


def test_a_region_to_a_part_of_a_pixel_is_upright() -> None:
    """Catches a rectangle that is called irregular for its decimals, as QuPath writes them."""
    points = [[100.37, 100.12], [500.41, 100.12], [500.41, 500.18], [100.37, 500.18], [100.37, 100.12]]
    rows, problems = imported(feature("Region*", points), TUMOUR)
    assert problems == []
    assert fields(rows) == {(100, 100, 400)}


def test_a_region_that_can_not_be_read_leaves_no_whole_slide() -> None:
    """Catches a slide asked about as a whole because its only region was refused."""
    rows, problems = imported(feature("Region*", square(3000, 0, 9)), TUMOUR, side=500)
    assert rows == []
    assert "outside" in problems[0].what


def test_a_class_of_regions_that_no_annotation_has_is_told() -> None:
    """Catches a misspelt --regions, which would ask about whole slides where someone marked what is complete."""
    _, problems = imported(feature("ROI", square(100, 100, 400)), TUMOUR, side=500, region="Roi")
    assert [(p.where, p.advice) for p in problems] == [("--regions", "write 'ROI'")]


def test_another_class_may_mark_regions() -> None:
    """Catches a department's own habit that is not listened to, and the marker asked about as tissue."""
    rows, problems = imported(feature("ROI", square(100, 100, 400)), TUMOUR, region="ROI")
    assert problems == []
    assert {row["question"] for row in rows} == {
        "Box every Tumor.",
        "Count every Tumor.",
        "Outline every Tumor.",
    }


def test_classes_are_named_in_full() -> None:
    """Catches derived classes ("Tumor: Positive") of new and old files that lose a part of their name."""
    new = feature(None, square(150, 150, 50), classification={"names": ["Tumor", "Positive"]})
    old = feature(
        None, square(250, 250, 50), classification={"name": "Positive", "parentClass": {"name": "Tumor"}}
    )
    rows, problems = imported(REGION, new, old, feature("Ignore*", square(300, 300, 9)))
    assert problems == []
    assert {row["answer"] for row in rows if row["task"] == "vqa"} == {"2"}
    assert "Box every Tumor: Positive." in {row["question"] for row in rows}


def test_objects_without_a_class_need_a_name() -> None:
    """Catches detections of a model that classifies nothing asked about as "", or lost in silence."""
    bare = feature(None, square(150, 150, 20), kind="detection")
    _, problems = imported(REGION, bare)
    assert ["no class" in problem.what for problem in problems] == [True]
    rows, problems = imported(REGION, bare, questions=Questions(words={"": "nucleus"}))
    assert problems == []
    assert {"Box every nucleus.", "Count every nucleus."} < {row["question"] for row in rows}


def test_children_in_the_file_are_found() -> None:
    """Catches cells lost because QuPath wrote them inside of their parent."""
    parent = copy.deepcopy(REGION)
    parent["properties"]["childObjects"] = [CELL]
    rows, problems = imported(parent)
    assert problems == []
    assert [row["answer"] for row in rows if row["task"] == "vqa"] == ["1"]


def test_nothing_is_asked_about_a_class_of_which_some_was_not_read() -> None:
    """Catches "one mitosis" taught where a second was marked by a point, whose box nobody knows."""
    mitosis, point = feature("Mitosis", square(150, 150, 20)), feature("Mitosis")
    point["geometry"] = {"type": "Point", "coordinates": [300, 300]}
    rows, problems = imported(REGION, TUMOUR, mitosis, point)
    assert len(problems) == 1
    assert {row["question"].split()[-1] for row in rows} == {"Tumor."}


BAD: dict[str, tuple[Any, str]] = {
    "no feature": ("x", "no GeoJSON feature"),
    "a point": ({**CELL, "geometry": {"type": "Point", "coordinates": [1, 2]}}, "Point"),
    "another plane": (
        {**CELL, "geometry": {**CELL["geometry"], "plane": {"c": -1, "z": 3, "t": 0}}},
        "focal plane",
    ),
    "no geometry": ({**CELL, "geometry": None}, "None"),
    "two points": (feature("Tumor", [[0, 0], [1, 1]]), "no area"),
    "no rings": (feature("Tumor"), "nested lists"),
    "no numbers": (feature("Tumor", [["a", 0], [1, 1], [2, 0]]), "[x, y]"),
    "flat": (feature("Tumor", [0, 0, 1, 1]), "[x, y]"),  # type: ignore[list-item]
    "not finite": (feature("Tumor", [[float("nan"), 0], [1, 1], [2, 0]]), "[x, y]"),
    "a tile": (feature("Tumor", square(0, 0, 9), kind="tile"), "tile"),
    "a nameless class": (feature(None, square(0, 0, 9), classification={"color": 3}), "no name"),
    "a region off the slide": (feature("Region*", square(3000, 0, 9)), "outside"),
    "outside all regions": (OUTSIDE, "outside all fields"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_feature_is_named_where_it_stands(name: str) -> None:
    """Catches a bad feature read, dropped in silence, or a reader's own exception."""
    bad, words = BAD[name]
    _, problems = imported(REGION, TUMOUR, bad)
    assert [problem.where.startswith("p1.geojson, feature 3") for problem in problems] == [True]
    assert words in problems[0].what


@pytest.mark.parametrize("name", ["p1.geojson", "p1.svs.geojson", "p1.json", "p1.svs.json"])
def test_a_file_is_named_as_its_slide(name: str) -> None:
    """Catches an export that QuPath named by the image's full name."""
    found = read_qupath([(name, [REGION])], SLIDES)
    assert (found.fields[0].slide, found.problems) == ("p1.svs", ())


def test_a_file_of_no_slide_or_of_anothers_is_refused() -> None:
    """Catches annotations put on another slide, and one of two files of a slide that is taken because of its name."""
    names = ("p1.geojson", "p1.svs.geojson", "p2.geojson", "p3.geojson")
    found = read_qupath([(name, [REGION, TUMOUR]) for name in names], SLIDES)
    assert [problem.where for problem in found.problems] == ["p3.geojson", "p1.geojson", "p1.svs.geojson"]
    assert {said.slide for said in (*found.fields, *found.annotations)} == {"p2.ndpi"}
    assert read_qupath([("p1.geojson", {"type": "FeatureCollection"})], SLIDES).problems
    (problem,) = read_qupath([("p1.geojson", [REGION])], slides_of("p1.svs", "p1.tif")).problems
    assert "p1.svs, p1.tif" in problem.what

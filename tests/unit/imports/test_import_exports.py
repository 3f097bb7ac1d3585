"""Files as programs for annotation write them: CVAT, Label Studio, Roboflow, QuPath 0.2 to 0.6."""

from __future__ import annotations

import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.imports.coco import read_coco
from client.imports.found import Found, ImportSourceError
from client.imports.json_file import read_json
from client.imports.questions import Questions
from client.imports.qupath import read_qupath
from client.imports.rows import question_rows
from client.imports.shapes import area
from client.imports.slides import Patients, SlideNames
from client.slides.index import SlideIndex
from client.slides.slide import Slide
from client.tasks.manifest_row import read_row
from tests.unit.imports.test_import_masks import compressed, runs

SLIDES = SlideNames(
    SlideIndex({n: Slide(n, Path(n), 0.5, 200, 100, (1.0,)) for n in ("p1 a.svs", "p2/b.tif", "p3.c.svs")})
)
MASK = np.zeros((100, 200), dtype=np.bool_)
MASK[20:40, 50:90] = True


def counts(found: Found) -> dict[tuple[str, str], str]:
    """(slide, question) -> the answer, of all that is counted; every row is one that a manifest's reader reads."""
    drafts, problems = question_rows(
        found, Questions(), Patients(None, re.compile(r"(p\d)")), None, only_present=False
    )
    assert [*found.problems, *problems] == []
    assert all(read_row(row, SLIDES.slides[row["slide"]]) for _, row in drafts)
    return {(row["slide"], row["question"]): row["answer"] for _, row in drafts if row["task"] == "vqa"}


def test_cvat() -> None:
    """Catches names with folders, empty segmentations, and crowds as plain run lengths that are not read."""
    image = {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0, "width": 200, "height": 100}
    attributes = {"occluded": False, "rotation": 0.0}
    document = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
        "categories": [
            {"id": 1, "name": "gland", "supercategory": ""},
            {"id": 2, "name": "lymphocyte", "supercategory": ""},
        ],
        "images": [
            image | {"id": 1, "file_name": "batch 1/p1 a.png"},
            image | {"id": 2, "file_name": "p2/b.tif"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]],
             "area": 400.0, "bbox": [10.0, 10.0, 20.0, 20.0], "iscrowd": 0, "attributes": {"occluded": False}},
            {"id": 2, "image_id": 1, "category_id": 2,
             "segmentation": {"counts": runs(MASK), "size": [100, 200]},
             "area": 800, "bbox": [50.0, 20.0, 39.0, 19.0], "iscrowd": 1, "attributes": attributes},
            {"id": 3, "image_id": 2, "category_id": 1, "segmentation": [], "area": 400.0,
             "bbox": [5.5, 5.25, 20.0, 20.0], "iscrowd": 0, "attributes": attributes},
        ],
    }  # fmt: skip
    assert counts(read_coco(document, SLIDES)) == {
        ("p1 a.svs", "Count every gland."): "1",
        ("p2/b.tif", "Count every gland."): "1",
        ("p2/b.tif", "Count every lymphocyte."): "0",
    }
    document["annotations"][2]["attributes"] = attributes | {"rotation": 30.0}  # type: ignore[index]
    (problem,) = read_coco(document, SLIDES).problems
    assert (problem.where, "turned by 30.0" in problem.what) == ("annotations[2] (id 3)", True)


def test_label_studio() -> None:
    """Catches names of its own storage and of Windows, ids from 0, and masks as text that are not read."""
    document = {
        "images": [
            {"width": 200, "height": 100, "id": 0, "file_name": "/data/local-files/?d=p1%20a.png"},
            {"width": 200, "height": 100, "id": 1, "file_name": "images\\b.jpg"},
        ],
        "categories": [{"id": 0, "name": "gland"}],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 0, "segmentation": [[10.5, 10.5, 30.1, 10.2, 20.7, 30.9]],
             "bbox": [10.5, 10.2, 19.6, 20.7], "ignore": 0, "iscrowd": 0, "area": 200.1},
            {"id": 1, "image_id": 0, "category_id": 0,
             "segmentation": {"size": [100, 200], "counts": compressed(runs(MASK))},
             "bbox": [50, 20, 40, 20], "ignore": 0, "iscrowd": 0, "area": 800},
        ],
        "info": {"year": 2024, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""},
    }  # fmt: skip
    found = read_coco(document, SLIDES)
    assert counts(found) == {
        ("p1 a.svs", "Count every gland."): "2",
        ("p2/b.tif", "Count every gland."): "0",
    }
    assert found.annotations[1].box == (50, 20, 90, 40)


def test_roboflow() -> None:
    """Catches the heading that stands first among its classes asked about as a class, and names that it makes up."""
    document = {
        "info": {"year": "2024", "version": "1", "description": "Exported from roboflow.com"},
        "licenses": [{"id": 1, "url": "", "name": "Private"}],
        "categories": [
            {"id": 0, "name": "cells", "supercategory": "none"},
            {"id": 1, "name": "mitosis", "supercategory": "cells"},
            {"id": 2, "name": "nucleus", "supercategory": "cells"},
        ],
        "images": [
            {"id": 0, "license": 1, "file_name": "p1-a_png.rf.3f2a9c.jpg", "height": 100, "width": 200,
             "date_captured": "2024-03-01T10:00:00+00:00", "extra": {"name": "p1 a.png"}},
        ],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 2, "bbox": [10, 10, 20.5, 20], "area": 410, "segmentation": [],
             "iscrowd": 0},
        ],
    }  # fmt: skip
    assert counts(read_coco(document, SLIDES)) == {
        ("p1 a.svs", "Count every mitosis."): "0",
        ("p1 a.svs", "Count every nucleus."): "1",
    }


def test_ids_as_other_programs_write_them() -> None:
    """Catches 1, 1.0 and "1" taken for three ids, as tables of numbers turn them."""
    document = {
        "images": [{"id": 1.0, "file_name": "p1 a", "width": 200.0, "height": 100.0}],
        "categories": [{"id": "2", "name": " gland "}],
        "annotations": [
            {"id": 1.0, "image_id": "1", "category_id": 2.0, "bbox": [1, 1, 9, 9], "segmentation": None}
        ],
    }
    assert counts(read_coco(document, SLIDES)) == {("p1 a.svs", "Count every gland."): "1"}


def ring(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def polygon(*rings: list[list[float]], **more: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings), **more}


OUTLINE = polygon(ring(0, 0, 100))
CIRCLE = polygon(
    [[50 + 10 * math.cos(k / 10), 50 + 10 * math.sin(k / 10)] for k in range(62)], isEllipse=True
)
TUMOUR = {"name": "Tumor", "color": [200, 0, 0]}
UUID = "1c2f6a0e-54f0-4c0f-a9f4-3a2b2d6b0e11"
VERSIONS: dict[str, list[dict[str, Any]]] = {
    "0.2": [
        {"type": "Feature", "id": "PathAnnotationObject", "geometry": OUTLINE,
         "properties": {"classification": {"name": "Region*", "colorRGB": -16777216}, "isLocked": False,
                        "measurements": []}},
        {"type": "Feature", "id": "PathCellObject", "geometry": CIRCLE, "nucleusGeometry": polygon(ring(48, 48, 3)),
         "properties": {"classification": {"name": "Tumor", "colorRGB": -3670016}, "isLocked": False,
                        "measurements": [{"name": "Area", "value": 314.2}]}},
    ],
    "0.3": [
        {"type": "Feature", "geometry": OUTLINE,
         "properties": {"object_type": "annotation", "isLocked": True,
                        "classification": {"name": "Region*", "colorRGB": -16777216}}},
        {"type": "Feature", "geometry": CIRCLE,
         "properties": {"object_type": "detection", "isLocked": False,
                        "classification": {"name": "Tumor", "colorRGB": -3670016}}},
    ],
    "0.4 and on": [
        {"type": "Feature", "id": UUID, "geometry": OUTLINE | {"plane": {"c": -1, "z": 0, "t": 0}},
         "properties": {"objectType": "annotation", "name": "complete", "isLocked": True,
                        "classification": {"name": "Region*", "color": [0, 0, 0]}}},
        {"type": "Feature", "id": UUID, "geometry": CIRCLE, "nucleusGeometry": polygon(ring(48, 48, 3)),
         "properties": {"objectType": "cell", "classification": {"names": ["Tumor"], "color": [200, 0, 0]},
                        "measurements": {"Area": 314.2, "Nucleus: Area": "NaN"}, "metadata": {"ANNOTATOR": "x"}}},
    ],
    "with children": [
        {"type": "Feature", "id": UUID, "geometry": OUTLINE,
         "properties": {"objectType": "annotation", "classification": {"name": "Region*"},
                        "childObjects": [{"type": "Feature", "id": UUID, "geometry": CIRCLE,
                                          "properties": {"objectType": "annotation", "classification": TUMOUR}}]}},
    ],
    "by other programs": [
        {"type": "Feature", "geometry": OUTLINE, "properties": {"classification": {"name": "Region*"}}},
        {"type": "Feature", "geometry": CIRCLE, "properties": {"type": "annotation", "classification": TUMOUR}},
        {"type": "Feature", "geometry": polygon(ring(1, 1, 9)),
         "properties": {"objectType": "annotation", "classification": {"name": "Ignore*"}}},
        {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[1, 1], [90, 90]]},
         "properties": {"objectType": "annotation", "classification": {"name": "Ignore*"}}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["p1 a.geojson", "p1 a.svs.json", "p1%20a.zip"])
def test_qupath(version: str, name: str) -> None:
    """Catches objects, their types or classes that one of QuPath's versions writes elsewhere; a cell taken by its nucleus;
    an ellipse that is not taken by its outline."""
    for document in (VERSIONS[version], {"type": "FeatureCollection", "features": VERSIONS[version]}):
        found = read_qupath([(name, document)], SLIDES)
        assert counts(found) == {("p1 a.svs", "Count every Tumor."): "1"}
        (annotation,) = found.annotations
        assert annotation.shape is not None
        assert area(annotation.shape[0].outer) == pytest.approx(100 * math.pi, rel=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"geometry": {"type": "Point", "coordinates": [50, 50]}}, "'Point' has no area"),
        ({"geometry": {"type": "MultiPoint", "coordinates": [[50, 50]]}}, "'MultiPoint' has no area"),
        ({"geometry": {"type": "LineString", "coordinates": [[1, 1], [90, 90]]}}, "'LineString' has no area"),
        ({"geometry": {"type": "GeometryCollection", "geometries": []}}, "'GeometryCollection' has no area"),
        ({"properties": {"objectType": "tmaCore", "isMissing": False}}, "type 'tmaCore'"),
        ({"properties": {"objectType": "root"}, "geometry": None}, "type 'root'"),
        ({"id": "PathTileObject", "properties": {}}, "type 'PathTileObject'"),
        ({"properties": {"objectType": ["cell"]}}, "type ['cell']"),
        ({"properties": {"object_type": "tile"}}, "type 'tile'"),
        ({"properties": {"type": "tile"}}, "type 'tile'"),
    ],
)
def test_what_qupath_exports_and_stands_for_no_outline_is_told(change: dict[str, Any], words: str) -> None:
    """Catches points and rulers that are lost in silence, and tiles and cores that are taken for tissue's objects."""
    region, cell = VERSIONS["0.3"]
    found = read_qupath([("p1 a.geojson", [region, cell, cell | change])], SLIDES)
    (problem,) = found.problems
    assert problem.where.startswith("p1 a.geojson, feature 3")
    assert words in problem.what
    assert len(found.annotations) == 1


def zipped(path: Path, **files: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_archives_as_qupath_and_cvat_write_them(tmp_path: Path) -> None:
    """Catches an export that is called broken because it is packed; images beside it do not matter."""
    assert read_json(zipped(tmp_path / "p1.zip", **{"p1.geojson": "[1]"})) == [1]
    files = {"annotations/instances_default.json": "{}", "images/a.png": "x", "__MACOSX/._a.json": "x"}
    assert read_json(zipped(tmp_path / "cvat.zip", **files)) == {}
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf[2]")
    assert read_json(tmp_path / "bom.json") == [2]


def test_what_is_no_archive_of_one_file_is_told(tmp_path: Path) -> None:
    """Catches a reader's own exception on archives of other things, cut short, or spoilt."""
    two = zipped(tmp_path / "two.zip", **{"a.json": "1", "b.geojson": "2"})
    none = zipped(tmp_path / "none.zip", **{"a.png": "1"})
    whole = zipped(tmp_path / "whole.zip", **{"a.json": json.dumps(list(range(999)))}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "spoilt.zip").write_bytes(whole[:60] + b"\xff" * 60 + whole[120:])
    (tmp_path / "text.json").write_text("{")
    cases = {
        two: "2 files of annotations, not one",
        none: "0 files of annotations, not one",
        tmp_path / "cut.zip": "unpacked",
        tmp_path / "spoilt.zip": "unpacked",
        tmp_path / "text.json": "as JSON",
        tmp_path / "gone.json": "No such file",
    }
    for path, words in cases.items():
        with pytest.raises(ImportSourceError, match=words):
            read_json(path)

"""COCO JSON: boxes, polygons and masks become rows; every bad entry is named at once."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from client.imports.coco import read_coco
from client.imports.found import Found
from client.imports.questions import DEFAULTS, Questions
from client.imports.rows import Row, question_rows
from client.imports.slides import Patients, SlideNames
from client.slides.index import SlideIndex
from client.slides.slide import Slide
from client.tasks.manifest_row import read_row
from client.tasks.overlap import dice, mask
from client.tasks.registry import TASKS
from client.tasks.sample import Box, Boxes, Polygon, Polygons, Sample


def slide(name: str, width: int = 200, height: int = 100) -> Slide:
    return Slide(name, Path(name), 0.5, width, height, (1.0,))


SLIDES = SlideNames(SlideIndex({name: slide(name) for name in ("p1-a.svs", "p1-b.svs", "p2-a.svs")}))
PATIENTS = Patients(None, re.compile(r"^([^-]+)-"))
DOCUMENT: dict[str, Any] = {
    "categories": [{"id": 1, "name": "gland"}, {"id": 2, "name": "mitosis"}],
    "images": [
        {"id": 7, "file_name": "export/p1-a.png", "width": 200, "height": 100},
        {"id": 8, "file_name": "p2-a.svs", "width": 200, "height": 100},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [100, 50, 40, 20],
         "segmentation": [[100, 50, 140, 50, 140, 70, 100, 70]]},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [20, 10, 20, 40],
         "segmentation": {"size": [100, 200], "counts": [2010, *([40, 60] * 19), 40, 16050]}},
    ],
}  # fmt: skip


def rows_of(found: Found, slides: SlideNames = SLIDES, side: int | None = None, **more: Any) -> list[Row]:
    drafts, problems = question_rows(
        found,
        more.get("questions", Questions()),
        more.get("patients", PATIENTS),
        side,
        more.get("present", False),
    )
    assert [*found.problems, *problems] == []
    samples_of(rows := [row for _, row in drafts], slides)
    return rows


def samples_of(rows: list[Row], slides: SlideNames = SLIDES) -> list[Sample]:
    return [read_row(row, slides.slides[row["slide"]]) for row in rows]


def fields_of(*annotations: dict[str, Any]) -> list[Row]:
    """The rows about the first image in fields of 100 pixels, of which it has two, where these are its glands."""
    document = copy.deepcopy(DOCUMENT)
    document["annotations"] = [{"image_id": 7, "category_id": 1, **annotation} for annotation in annotations]
    return [row for row in rows_of(read_coco(document, SLIDES), side=100) if row["slide"] == "p1-a.svs"]


def gland_boxes(rows: list[Row]) -> dict[str, Any]:
    """By where a field begins, its glands' boxes."""
    return {row["x"]: json.loads(row["boxes"]) for row in rows if row["question"] == "Box every gland."}


def test_boxes_polygons_and_masks_become_questions() -> None:
    """Catches a box of x, y, x, y; a mask read along the rows; another order than from the top; a class that
    is not to be seen left unasked; slides and patients mixed up."""
    rows = rows_of(read_coco(DOCUMENT, SLIDES))
    told = {(row["slide"], row["question"]): row for row in rows}
    assert len(told) == len(rows) == 2 * 5  # nobody outlined a mitosis: that is not asked
    glands = told["p1-a.svs", "Box every gland."]
    assert json.loads(glands["boxes"]) == [[20, 10, 40, 50], [100, 50, 140, 70]]
    assert (glands["patient"], told["p2-a.svs", "Box every gland."]["patient"]) == ("p1", "p2")
    assert told["p1-a.svs", "Count every gland."]["answer"] == "2"
    assert told["p1-a.svs", "Count every mitosis."]["answer"] == "0"
    assert told["p2-a.svs", "Outline every gland."]["polygons"] == "[]"
    outlines = samples_of([told["p1-a.svs", "Outline every gland."]])[0].answer
    assert isinstance(outlines, Polygons)
    assert {p.bounds() for p in outlines.polygons} == {Box(100, 100, 200, 500), Box(500, 500, 700, 700)}


def test_only_what_is_present_is_asked_if_so_wanted() -> None:
    """Catches questions answered "none" where the annotators looked for nothing."""
    rows = rows_of(read_coco(DOCUMENT, SLIDES), present=True)
    assert {(row["slide"], row["task"]) for row in rows} == {
        ("p1-a.svs", task) for task in ("detection", "segmentation", "vqa")
    }


def test_the_hospital_chooses_the_words() -> None:
    """Catches templates or names that are not taken up, and classes left out that are asked nevertheless."""
    questions = Questions(
        DEFAULTS | {"segmentation": ""},
        {"acinus": {"count": "How many acini are there?"}},
        {"gland": "acinus", "mitosis": ""},
    )
    rows = rows_of(read_coco(DOCUMENT, SLIDES), questions=questions)
    assert {row["question"] for row in rows} == {"Box every acinus.", "How many acini are there?"}


def test_a_large_image_is_cut_into_fields() -> None:
    """Catches an object counted in two fields or in none, and coordinates of the field instead of the slide's.

    The image is cut at x = 100. The object from 90 to 130 is shown for three quarters by the right field.
    """
    rows = fields_of({"bbox": [90, 50, 40, 10], "segmentation": [[90, 50, 130, 50, 130, 60, 90, 60]]})
    assert gland_boxes(rows) == {"0": [], "100": [[100, 50, 130, 60]]}
    assert {row["width"] for row in rows} == {"100"}
    (outlined,) = [row for row in rows if row["task"] == "segmentation" and row["x"] == "100"]
    assert sorted(json.loads(outlined["polygons"])[0]) == [[100, 50], [100, 60], [130, 50], [130, 60]]


def test_a_crowd_is_neither_boxed_nor_counted() -> None:
    """Catches a heap of nuclei that nobody told apart, taught as one nucleus."""
    document = copy.deepcopy(DOCUMENT)
    document["annotations"][0]["iscrowd"] = 1
    rows = [row for row in rows_of(read_coco(document, SLIDES)) if row["slide"] == "p1-a.svs"]
    assert [row["question"] for row in rows if "gland" in row["question"]] == ["Outline every gland."]


def test_a_corner_of_a_crowd_is_enough_for_no_box_and_no_count() -> None:
    """Catches a field said to be boxed and counted in full, into which a little of a crowd reaches."""
    rows = fields_of(
        {"bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]},
        {"iscrowd": 1, "segmentation": [[97, 40, 190, 40, 190, 60, 97, 60]]},
    )
    asked = {row["x"]: row["question"] for row in rows if "gland" in row["question"]}
    assert asked == {"0": "Outline every gland.", "100": "Outline every gland."}


def test_a_cut_object_is_boxed_where_it_shows() -> None:
    """Catches the box of the whole object cut by the field: of a triangle whose tip alone reaches in, most of that box is
    beside it, and a perfect answer would be no hit.

    The field ends at x = 100; there, the triangle's upper edge, from (0, 0) to (200, 100), has come down to y = 50.
    """
    rows = fields_of(
        {"segmentation": [[0, 0, 200, 100, 0, 20]]},
        {"segmentation": [[80, 60, 200, 60, 200, 100, 190, 61, 80, 61]]},
    )
    assert gland_boxes(rows) == {"0": [[0, 0, 100, 60]], "100": [[100, 50, 200, 100], [100, 60, 200, 100]]}


def test_an_object_beyond_the_edge_is_clipped_to_the_slide() -> None:
    """Catches rounding beyond the last pixel that makes a whole file useless."""
    document = copy.deepcopy(DOCUMENT)
    document["annotations"] = [{"image_id": 7, "category_id": 1, "bbox": [150, -0.4, 50.3, 40]}]
    (row, *_) = [r for r in rows_of(read_coco(document, SLIDES)) if r["boxes"] not in ("", "[]")]
    assert json.loads(row["boxes"]) == [[150, 0, 200, 39.6]]


Change = tuple[str, int, dict[str, Any]]
BAD: dict[str, tuple[Change, str, str]] = {
    "no such slide": (("images", 0, {"file_name": "gone.png"}), "images[0] (id 7)", "gone.png"),
    "no file name": (("images", 0, {"file_name": None}), "images[0] (id 7)", "file_name"),
    "another size": (("images", 0, {"width": 100}), "images[0] (id 7)", "100 x 100"),
    "the same slide twice": (("images", 1, {"file_name": "p1-a.svs"}), "images[1] (id 8)", "images[0]"),
    "no name": (("categories", 1, {"name": " "}), "categories[1] (id 2)", "name"),
    "no such image": (("annotations", 1, {"image_id": 9}), "annotations[1] (id 2)", "image 9"),
    "no such category": (("annotations", 1, {"category_id": 9}), "annotations[1] (id 2)", "category 9"),
    "three numbers": (("annotations", 1, {"bbox": [1, 2, 3]}), "annotations[1] (id 2)", "four numbers"),
    "words for numbers": (("annotations", 1, {"bbox": ["1", 2, 3, 4]}), "annotations[1] (id 2)", "four numbers"),
    "crowd in words": (("annotations", 1, {"iscrowd": "0"}), "annotations[1] (id 2)", "iscrowd"),
    "empty box": (("annotations", 1, {"bbox": [1, 2, 0, 4]}), "annotations[1] (id 2)", "empty"),
    "odd polygon": (("annotations", 1, {"segmentation": [[1, 2, 3, 4, 5]]}), "annotations[1] (id 2)", "x1, y1"),
    "flat polygon": (("annotations", 1, {"segmentation": [[1, 1, 2, 2, 3, 3]]}), "annotations[1] (id 2)", "no area"),
    "mask of another size": (
        ("annotations", 1, {"segmentation": {"size": [9, 9], "counts": [81]}}), "annotations[1] (id 2)", "100 rows"
    ),
    "empty mask": (
        ("annotations", 1, {"segmentation": {"size": [100, 200], "counts": [20000]}}), "annotations[1] (id 2)", "empty"
    ),
    "outside the slide": (
        ("annotations", 1, {"bbox": [300, 10, 5, 5], "segmentation": []}), "annotations[1] (id 2)", "outside"
    ),
}  # fmt: skip


def all_problems(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = read_coco(document, SLIDES)
    drafts, problems = question_rows(found, Questions(), PATIENTS, None, False)
    samples_of([row for _, row in drafts])
    told = [*found.problems, *problems]
    assert all(problem.advice for problem in told)
    return [(problem.where, problem.what) for problem in told]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_entry_is_named_where_it_stands(name: str) -> None:
    """Catches a bad entry that is read, dropped in silence, or blamed on another place."""
    (part, number, change), where, words = BAD[name]
    document = copy.deepcopy(DOCUMENT)
    document[part][number] |= change
    told = all_problems(document)
    assert told[0][0] == where or (where, words) in [(w, words) for w, what in told if words in what]
    assert any(w == where and words in what for w, what in told)


def test_images_of_one_id_are_both_refused() -> None:
    """Catches the first image's glands taught as the second slide's, and the first slide dropped in silence."""
    document = copy.deepcopy(DOCUMENT)
    document["images"][1]["id"] = 7.0
    document["images"].append({"id": 9, "file_name": "p1-b.svs", "width": 200, "height": 100})
    found = read_coco(document, SLIDES)
    assert [field.slide for field in found.fields] == ["p1-b.svs"]
    assert found.annotations == ()
    told = {problem.where: problem.what for problem in found.problems}
    assert "images[1] (id 7.0)" in told["images[0] (id 7)"]
    assert "images[0] (id 7)" in told["images[1] (id 7.0)"]
    assert {"annotations[0] (id 1)", "annotations[1] (id 2)"} < told.keys()


def test_categories_of_one_id_are_both_refused() -> None:
    """Catches glands taught as mitoses because that name stands last."""
    document = copy.deepcopy(DOCUMENT)
    document["categories"] = [
        {"id": 1, "name": "gland"},
        {"id": "1", "name": "mitosis"},
        {"id": 3, "name": "fat"},
    ]
    found = read_coco(document, SLIDES)
    assert (found.labels, found.annotations) == (("fat",), ())
    wheres = [problem.where for problem in found.problems]
    assert wheres[:2] == ["categories[0] (id 1)", "categories[1] (id 1)"]
    drafts, _ = question_rows(found, Questions(), PATIENTS, None, False)
    assert {row["slide"] for _, row in drafts} == {"p2-a.svs"}, "p1-a.svs shows objects of nobody knows what"


def test_annotations_of_one_id_are_both_refused() -> None:
    """Catches an object that was exported twice, once before it was corrected, counted as two."""
    document = copy.deepcopy(DOCUMENT)
    document["annotations"][1]["id"] = 1
    found = read_coco(document, SLIDES)
    assert found.annotations == ()
    assert [problem.where for problem in found.problems] == ["annotations[0] (id 1)", "annotations[1] (id 1)"]
    for annotation in document["annotations"]:
        del annotation["id"]
    assert read_coco(document, SLIDES).problems == (), "an annotation needs no id"


def test_several_images_of_one_slide_are_all_refused() -> None:
    """Catches one of two that is taken because it stands first."""
    document = copy.deepcopy(DOCUMENT)
    document["images"][1]["file_name"] = "p1-a.svs"
    assert read_coco(document, SLIDES).fields == ()


def test_a_box_follows_from_its_outlines() -> None:
    """Catches polygons and masks that are refused because nobody wrote down their box."""
    document = copy.deepcopy(DOCUMENT)
    del document["annotations"][0]["bbox"]
    document["annotations"][1]["bbox"] = []
    found = read_coco(document, SLIDES)
    assert [annotation.box for annotation in found.annotations] == [(100, 50, 140, 70), (20, 10, 40, 50)]
    assert found.problems == ()


@pytest.mark.parametrize(
    ("box", "agrees"),
    [
        ([100, 50, 40, 20], True),
        ([98, 47, 44, 26], True),  # drawn with a margin
        ([101, 51, 38, 18], True),
        ([99, 49, 41, 21], True),
        ([100, 50, 140, 70], False),  # two corners where a corner and a size belong
        ([50, 100, 20, 40], False),  # y before x
        ([10, 10, 40, 20], False),
        ([100, 50, 20, 10], False),  # of the image at another scale
        ([0, 0, 200, 100], False),
    ],
)
def test_a_box_that_contradicts_its_outlines_is_refused(box: list[float], agrees: bool) -> None:
    """Catches detection taught with boxes of another convention, where the outlines would have told."""
    document = copy.deepcopy(DOCUMENT)
    document["annotations"][0]["bbox"] = box
    told = [problem.where for problem in read_coco(document, SLIDES).problems]
    assert told == ([] if agrees else ["annotations[0] (id 1)"])


def test_a_box_of_a_small_object_may_count_its_last_pixel_or_not() -> None:
    """Catches a mitosis of two pixels that is refused for a pixel."""
    document = copy.deepcopy(DOCUMENT)
    small = {"bbox": [10, 10, 1, 1], "segmentation": [[10, 10, 12, 10, 12, 12, 10, 12]]}
    document["annotations"][0] |= small
    assert read_coco(document, SLIDES).problems == ()


@pytest.mark.parametrize(
    ("bad", "asked"),
    [
        ({"bbox": [1, 2, 3], "segmentation": []}, {"mitosis"}),
        ({"category_id": 9}, set()),
        ({"segmentation": [[1, 2, 3]]}, {"mitosis"}),
    ],
)
def test_nothing_is_asked_about_what_was_not_read_in_full(bad: dict[str, Any], asked: set[str]) -> None:
    """Catches one of two glands taught as all of them, where someone chose to leave out what is wrong."""
    document = copy.deepcopy(DOCUMENT)
    document["annotations"][1] |= bad
    drafts, _ = question_rows(read_coco(document, SLIDES), Questions(), PATIENTS, None, False)
    told = [row["question"] for _, row in drafts if row["slide"] == "p1-a.svs"]
    assert {word for word in ("gland", "mitosis") if any(word in question for question in told)} == asked
    assert len([row for _, row in drafts if row["slide"] == "p2-a.svs"]) == 4 + (
        not asked or "segmentation" in bad
    )


@pytest.mark.parametrize(
    ("questions", "where", "advice"),
    [
        (Questions(words={"Gland": "acinus"}, file="q.toml"), "q.toml, names.Gland", "write 'gland'"),
        (Questions(words={"mitoses": ""}, file="q.toml"), "q.toml, names.mitoses", "write 'mitosis'"),
        (Questions(words={"fat": ""}, file="q.toml"), "q.toml, names.fat", "'gland', 'mitosis'"),
        (Questions(of_word={"glands": {}}, file="q.toml"), "q.toml, questions.glands", "write 'gland'"),
        (
            Questions(of_word={"gland": {}}, words={"gland": "acinus"}, file="q.toml"),
            "q.toml, questions.gland",
            "'acinus'",
        ),
    ],
)
def test_a_name_that_no_class_has_is_a_problem(questions: Questions, where: str, advice: str) -> None:
    """Catches a typing error that asks about a class in the source's word, or about one that was to be left out."""
    (problem,) = questions.idle(read_coco(DOCUMENT, SLIDES).labels)
    assert problem.where == where
    assert advice in problem.advice


def test_names_that_classes_have_are_none() -> None:
    """Catches a file of questions that is right and refused."""
    words = {"gland": "acinus", "mitosis": "", "": "nucleus"}
    assert Questions(of_word={"acinus": {}}, words=words).idle(["gland", "mitosis"]) == []


def test_every_bad_entry_is_told_at_once() -> None:
    """Catches a reader that stops at the first."""
    document = copy.deepcopy(DOCUMENT)
    document["annotations"] = [{"id": k, "image_id": 7, "category_id": 1, "bbox": []} for k in range(30)]
    assert len(all_problems(document)) == 30


@pytest.mark.parametrize(
    "document", [None, [], {}, {"images": 3}, {"images": [1], "annotations": [2], "categories": [3]}]
)
def test_what_is_no_coco_document_is_refused(document: Any) -> None:
    """Catches a reader's own exception on a file of another kind."""
    assert read_coco(document, SLIDES).problems


def test_a_slide_of_nobody_is_refused() -> None:
    """Catches a patient made up for a slide: the patient is what privacy protects."""
    found = read_coco(DOCUMENT, SLIDES)
    drafts, problems = question_rows(found, Questions(), Patients({"p1-a.svs": "p1"}, None), None, False)
    assert {row["slide"] for _, row in drafts} == {"p1-a.svs"}
    assert [problem.where for problem in problems] == ["slide p2-a.svs"]


def test_real_nuclei(shared_real: Path) -> None:
    """Catches what only real files hold: 105 stained images and 4,531 nuclei, by box; each as it was."""
    document = json.loads((shared_real / "coco.json").read_text())
    names = {Path(i["file_name"]).name: (i["width"], i["height"]) for i in document["images"]}
    slides = SlideNames(SlideIndex({name: slide(name, *size) for name, size in names.items()}))
    rows = rows_of(read_coco(document, slides), slides, patients=Patients(None, re.compile(r"^(.*)\.png$")))
    assert len(rows) == 2 * 105
    assert {row["question"] for row in rows} == {"Box every nucleus.", "Count every nucleus."}
    assert sum(int(row["answer"]) for row in rows if row["task"] == "vqa") == 4531
    boxed = {row["slide"]: json.loads(row["boxes"]) for row in rows if row["task"] == "detection"}
    for image in document["images"]:
        drawn = [a["bbox"] for a in document["annotations"] if a["image_id"] == image["id"]]
        found = boxed[Path(image["file_name"]).name]
        assert sorted([x, y, x + w, y + h] for x, y, w, h in drawn) == sorted(found)


def test_real_masks_become_outlines_that_cover_them(shared_real: Path) -> None:
    """Catches outlines that lose the nuclei's shape on the way through simplifying, clipping and the frame."""
    document = json.loads((shared_real / "coco.json").read_text())
    image = document["images"][0]
    labels = np.asarray(Image.open(shared_real / image["label_map"]))
    annotations = [
        {"image_id": image["id"], "category_id": 1, "bbox": _box(labels == k),
         "segmentation": {"size": list(labels.shape), "counts": _runs(labels == k)}}
        for k in np.unique(labels[labels > 0])
    ]  # fmt: skip
    name = Path(image["file_name"]).name
    slides = SlideNames(SlideIndex({name: slide(name, image["width"], image["height"])}))
    found = read_coco({**document, "images": [image], "annotations": annotations}, slides)
    patients = Patients(None, re.compile("(.)"))
    for side, parts in ((None, 1), (128, 4)):
        rows = [r for r in rows_of(found, slides, side, patients=patients) if r["task"] == "segmentation"]
        assert len(rows) == parts
        for sample in samples_of(rows, slides):
            assert isinstance(sample.answer, Polygons)
            region = sample.region
            assert region is not None
            crop = labels[region.y : region.y + region.height, region.x : region.x + region.width] > 0
            at = (np.arange(250) + 0.5) / 250
            true = crop[np.ix_((at * region.height).astype(int), (at * region.width).astype(int))]
            drawn = mask(sample.answer.polygons)
            covered = 2 * np.count_nonzero(drawn & true) / (drawn.sum() + true.sum())
            assert covered > (
                0.95 if side is None else 0.9
            )  # a field leaves out what it shows less than half of
            written = TASKS["segmentation"].parse(TASKS["segmentation"].render(sample.answer))
            assert isinstance(written, Polygons)
            assert dice(mask(written.polygons), drawn) > 0.85


def _box(region: np.ndarray) -> list[int]:
    ys, xs = np.nonzero(region)
    return [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]


def _runs(region: np.ndarray) -> list[int]:
    flat = region.T.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    return np.diff([0, *edges, len(flat)]).tolist()


def test_kinds_of_answers() -> None:
    """Catches rows whose answers are not what their task takes."""
    kinds = {type(sample.answer) for sample in samples_of(rows_of(read_coco(DOCUMENT, SLIDES)))}
    assert kinds == {TASKS[task].kind for task in ("detection", "segmentation", "vqa")}
    assert Boxes in kinds
    assert Polygon not in kinds

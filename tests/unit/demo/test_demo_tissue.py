"""The drawn tissue: answers must be true, drawings reproducible, slides real."""

from __future__ import annotations

import csv
import json

import numpy as np
import openslide
import pytest

from client.slides.index import index_slides
from client.tasks.grammar import parse_boxes, parse_polygons
from client.tasks.manifest import read_manifest
from client.tasks.registry import TASKS
from demo.base_data import PublicTissue, answer_text
from demo.cohort import MANIFEST, SITES, Cohort, write_cohort
from demo.questions import DIAGNOSES, compose, diagnosis, regions, roi_questions, wsi_questions
from demo.slide_writer import Identifiers, write_slide
from demo.tissue import FIELD, KINDS, Organ, Stain, colour, draw

MARGIN = 16


def canvas_of(seed: int, cells: list[list[int]] | None = None):
    rng = np.random.default_rng(seed)
    grid = compose(3, 3, rng) if cells is None else np.asarray(cells, np.uint8)
    return draw(grid, Organ("test"), rng, MARGIN), rng


def test_the_same_seed_draws_the_same_tissue():
    """Catches a hidden source of randomness: a base or a cohort could then not be made again."""
    one, two = (colour(*((c := canvas_of(3))[0], Stain("test"), c[1])) for _ in range(2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("seed", range(6))
def test_boxes_and_outlines_are_where_the_objects_are(seed):
    """Catches boxes off their glands or outlines off their nests: every mark must be filled, and little else marked."""
    canvas, _ = canvas_of(seed, [[0, 1], [1, 0]])
    gland = (canvas.objects == 1) | (canvas.objects == 3)
    inside = np.zeros_like(gland)
    for x1, y1, x2, y2 in (g.box for g in canvas.glands):
        part = gland[int(y1) : int(np.ceil(y2)) + 1, int(x1) : int(np.ceil(x2)) + 1]
        assert part.mean() > 0.6  # an ellipse fills 78 % of its box
        inside[int(y1) - 1 : int(np.ceil(y2)) + 2, int(x1) - 1 : int(np.ceil(x2)) + 2] = True
    assert not (gland & ~inside).any()
    for nest in canvas.nests:
        x, y = nest.centre
        assert canvas.objects[int(y), int(x)] == 2


def test_counts_and_kinds_answer_what_was_drawn():
    """Catches questions whose answer is not the drawing's: a model would be taught falsehoods."""
    canvas, rng = canvas_of(1, [[0, 3], [5, 4]])
    for window in regions(canvas, MARGIN, 0, rng):
        asked = {q.text: q for q in roi_questions(canvas, window)}
        kind = asked["Which tissue is this?"].answer
        row, col = (window[1] - MARGIN) // FIELD, (window[0] - MARGIN) // FIELD
        assert kind == KINDS[canvas.cells[row, col]]
        assert asked["How many glands are there?"].answer == str(len(asked["Box every gland."].boxes))
        assert (kind == "glandular") == bool(asked["Box every gland."].boxes)


@pytest.mark.parametrize("seed", range(20))
def test_a_composed_slide_has_the_diagnosis_its_fields_imply(seed):
    """Catches diagnoses that the slide does not show."""
    cells = compose(3, 4, np.random.default_rng(seed))
    found = {KINDS[k] for k in cells.ravel() if k < len(KINDS)}
    name = diagnosis(cells)
    assert name in DIAGNOSES
    assert ("tumour" in found) == (name in ("carcinoma", "high-grade"))
    canvas = draw(cells, Organ("test"), np.random.default_rng(seed), MARGIN)
    assert wsi_questions(canvas)[0].answer == name


def test_all_diagnoses_come_up():
    """Catches a composer that can't make one of them, so that a class would never be seen."""
    assert {diagnosis(compose(3, 3, np.random.default_rng(s))) for s in range(60)} == set(DIAGNOSES)


def test_pretraining_answers_are_in_the_hospitals_grammar():
    """Catches a base that is taught to write what the parser refuses."""
    canvas, rng = canvas_of(5, [[0, 1], [1, 2]])
    for window in regions(canvas, MARGIN, 8, rng):
        for question in roi_questions(canvas, window):
            text = answer_text(question, window)
            assert TASKS[question.task].parse(text) is not None, text
            if question.task == "detection":
                assert len(parse_boxes(text).boxes) == len(question.boxes)
            if question.task == "segmentation":
                assert len(parse_polygons(text).polygons) == len(question.polygons)


def test_public_batches_depend_on_seed_and_step_alone():
    """Catches a stream that a resumed pretraining would not continue."""
    first, second = iter(PublicTissue(1, 1, 2)), iter(PublicTissue(1, 1, 2, start=1))
    next(first)
    assert np.array_equal(next(first).images, next(second).images)


def test_slides_open_as_aperio_with_levels_scale_and_planted_identifiers(tmp_path):
    """Catches a slide that is no slide, or one without the identifiers that leak tests look for."""
    canvas, rng = canvas_of(2)
    path = tmp_path / "a.svs"
    write_slide(path, colour(canvas, Stain("test"), rng), 0.5, Identifiers("DOE^JANE", "MRN-1", "SS-9"))
    with openslide.OpenSlide(path) as slide:
        assert slide.properties[openslide.PROPERTY_NAME_VENDOR] == "aperio"
        assert slide.level_count == 3
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == 0.5
        assert {"label", "macro", "thumbnail"} <= set(slide.associated_images)
        assert slide.properties["aperio.User"] == "DOE^JANE"


def test_a_cohort_is_read_back_whole_and_written_once(tmp_path):
    """Catches manifests that the hospital's reader refuses, and a second run that draws everything again."""
    cohort = Cohort(tmp_path / "coast", (SITES[2],), patients=6, regions_a_patient=4, seed=5)
    write_cohort(cohort, 1, lambda done, of: None)
    index = index_slides(cohort.folder / "slides")
    manifest = read_manifest(cohort.folder / MANIFEST, index)
    assert len({s.patient for s in manifest.samples}) == 6
    assert not index.skipped
    assert {s.task for s in manifest.samples} == {
        "classification",
        "segmentation",
        "vqa",
    }  # the coast labels no boxes
    assert {s.scale for s in manifest.samples} == {"roi", "wsi"}
    before = {p: p.stat().st_mtime_ns for p in cohort.folder.rglob("*")}
    write_cohort(cohort, 1, lambda done, of: None)
    assert before == {p: p.stat().st_mtime_ns for p in cohort.folder.rglob("*")}


def test_boxes_in_a_manifest_are_level_0_pixels_inside_their_region(tmp_path):
    """Catches a wrong unit: a scanner's pixel is not a micrometre."""
    cohort = Cohort(tmp_path / "north", (SITES[0],), patients=6, regions_a_patient=8, seed=5)
    write_cohort(cohort, 1, lambda done, of: None)
    seen = 0
    with (cohort.folder / MANIFEST).open() as file:
        for row in csv.DictReader(file):
            for x1, y1, x2, y2 in json.loads(row["boxes"] or "[]"):
                seen += 1
                left, top = int(row["x"]) - 1, int(row["y"]) - 1
                assert left <= x1 < x2 <= left + int(row["width"]) + 2
                assert top <= y1 < y2 <= top + int(row["height"]) + 2
                assert (x2 - x1) > 20  # a gland of 16 micrometres and more, at 0.5 micrometres a pixel
    assert seen

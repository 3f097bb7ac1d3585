"""Real images as hospitals' slides: every answer must be what the label map says, and no image may be in two places."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from client.slides.index import index_slides
from client.tasks.manifest import read_manifest
from demo.cohort import MANIFEST
from demo.real_cohort import (
    CLOSE_UP,
    CLOSE_UPS,
    FIELD,
    LEAST_PIXELS,
    LISTING,
    MAGNIFY,
    MOST_OBJECTS,
    NUMBERS,
    OUTLINE_POINTS,
    SHIFT,
    STAINS,
    RealDataError,
    RealImage,
    folds,
    nuclei,
    read_images,
    rows,
    write,
)

ROOT = Path(__file__).parents[3]
SIDE = 128  # of a drawn label map


@pytest.fixture(scope="module")
def folder() -> Path:
    found = Path(os.environ.get("FEDPATH_SHARED", ROOT.parent / "shared")) / "real" / "dsb2018_stained"
    if not found.is_dir():
        pytest.skip(f"no real images here ({found}); set FEDPATH_SHARED to the folder that holds `real`")
    return found


@pytest.fixture(scope="module")
def images(folder: Path) -> list[RealImage]:
    return read_images(folder)


def _map(*shapes: tuple[int, int, int, int]) -> np.ndarray:
    """A label map with filled boxes (x1, y1, x2, y2), numbered from 1."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for number, (x1, y1, x2, y2) in enumerate(shapes, 1):
        labels[y1:y2, x1:x2] = number
    return labels


@pytest.mark.parametrize(
    ("shapes", "kept"),
    [
        ([(10, 20, 40, 50)], [(10, 20, 40, 50)]),
        ([(60, 70, 90, 90), (10, 20, 40, 50), (70, 20, 90, 50)], [(10, 20, 40, 50), (70, 20, 90, 50), (60, 70, 90, 90)]),
        ([(0, 0, 1, SIDE)], []),  # a line has no area
        ([(0, 0, 5, 5)], []),  # too small
        ([(0, 0, SIDE, SIDE)], [(0, 0, SIDE, SIDE)]),
        ([], []),
    ],
    ids=["one", "top-to-bottom", "line", "speck", "all", "none"],
)  # fmt: skip
def test_the_nuclei_of_a_label_map(
    shapes: list[tuple[int, int, int, int]], kept: list[tuple[int, int, int, int]]
) -> None:
    """Catches a box that is a pixel short, objects out of order, and slivers that the manifest's reader refuses."""
    found = nuclei(_map(*shapes))
    assert [n.box for n in found] == [tuple(MAGNIFY * side for side in box) for box in kept]
    for nucleus in found:
        assert len(nucleus.outline) <= OUTLINE_POINTS
        assert cv2.contourArea(nucleus.outline.astype(np.float32)) >= LEAST_PIXELS / 2


def test_every_nucleus_inside_a_field_has_the_box_that_the_listing_gives(
    folder: Path, images: list[RealImage]
) -> None:
    """Catches a shift or a scale error: boxes go through label map, magnification and region, and must come back."""
    listing = json.loads((folder / LISTING).read_text())
    number = {Path(i["file_name"]).stem: i["id"] for i in listing["images"]}
    whole = compared = 0
    for image in images[:20]:
        boxes: dict[tuple[int, int], set[tuple[int, ...]]] = {}
        for row in rows(image):
            if row["task"] == "detection":
                boxes[row["x"], row["y"]] = {tuple(b) for b in json.loads(row["boxes"])}
        for note in listing["annotations"]:
            x, y, width, height = (MAGNIFY * v for v in note["bbox"])
            at = (x // FIELD * FIELD, y // FIELD * FIELD)
            if note["image_id"] != number[image.name] or at not in boxes or width * height < 4 * LEAST_PIXELS:
                continue
            if x + width <= at[0] + FIELD and y + height <= at[1] + FIELD:
                whole += 1
                compared += (x, y, x + width, y + height) in boxes[at]
    assert whole > 100
    assert compared >= 0.99 * whole  # the few that differ are nuclei in several pieces


def test_every_outline_covers_the_nucleus_in_the_middle(images: list[RealImage]) -> None:
    """Catches outlines of another nucleus, or in another frame than the boxes, and a middle that gives the answer away."""
    overlaps, offs = [], []
    for image in images[:10]:
        asked = [row for row in rows(image) if row["task"] == "segmentation"]
        assert 0 < len(asked) <= CLOSE_UPS
        for row in asked:
            corner = np.array((row["x"], row["y"]))
            assert not (corner % MAGNIFY).any()
            left, top = corner // MAGNIFY
            side = CLOSE_UP // MAGNIFY
            part = image.labels[top : top + side, left : left + side].repeat(MAGNIFY, 0).repeat(MAGNIFY, 1)
            (points,) = json.loads(row["polygons"])
            outline = np.asarray(points) - corner
            assert outline.min() > 0  # whole: no point on the edge
            assert outline.max() < CLOSE_UP
            drawn = np.zeros((CLOSE_UP, CLOSE_UP), np.uint8)
            cv2.fillPoly(drawn, [np.floor(outline).astype(np.int32)], 1)
            inside = part[drawn > 0]
            true = part == np.bincount(inside[inside > 0]).argmax()
            overlaps.append(2 * (true & (drawn > 0)).sum() / (true.sum() + drawn.sum()))
            offs.append(np.abs(outline.mean(0) - CLOSE_UP / 2).max())
    assert len(overlaps) > 80
    assert np.quantile(overlaps, 0.05) > 0.7
    assert min(overlaps) > 0.4
    assert SHIFT / 4 < np.median(offs) < 2 * SHIFT


def test_the_answers_of_a_field_agree_and_fit(images: list[RealImage]) -> None:
    """Catches a count that is not the number of boxes, and answers too long to be said."""
    both = 0
    for image in images[:20]:
        fields: dict[tuple[int, int], dict[str, dict[str, str]]] = {}
        for row in rows(image):
            if row["task"] != "segmentation":
                fields.setdefault((row["x"], row["y"]), {})[row["task"]] = row
        for asked in fields.values():
            if "classification" in asked:
                assert asked["classification"]["answer"] == NUMBERS[image.stain]
            if "detection" in asked:
                count = len(json.loads(asked["detection"]["boxes"]))
                assert 0 < count <= MOST_OBJECTS["detection"]
                if "vqa" in asked:
                    both += 1
                    assert asked["vqa"]["answer"] == str(count)
    assert both > 50


def test_each_image_is_held_out_once_and_each_fold_has_every_stain(images: list[RealImage]) -> None:
    """Catches an image scored twice or never, and a fold without a stain: in this data an image is the patient."""
    dealt = folds(images, 4)
    assert dealt == folds(images[::-1], 4)  # the order of the listing does not matter
    assert set(dealt) == {image.name for image in images}
    for fold in range(4):
        held = [image for image in images if dealt[image.name] == fold]
        assert {image.stain for image in held} == set(STAINS.values())
        assert len(held) in (26, 27)


def test_the_manifest_of_every_image_is_read(images: list[RealImage], tmp_path: Path) -> None:
    """Catches a degenerate outline or a region off the slide: one bad row makes the reader refuse all."""
    write(tmp_path, images)
    index = index_slides(tmp_path / "slides")
    manifest = read_manifest(tmp_path / MANIFEST, index)
    assert {sample.patient for sample in manifest.samples} == {image.name for image in images}
    assert len(manifest.samples) == sum(len(rows(image)) for image in images)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder of one drawn image."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    entry = {"file_name": "images/a.png", "label_map": "labels/a.png", "stain_domain": "pink_he"}
    (tmp_path / LISTING).write_text(json.dumps({"images": [entry]}))
    cv2.imwrite(str(tmp_path / "images/a.png"), np.full((64, 128, 3), 200, np.uint8))
    cv2.imwrite(str(tmp_path / "labels/a.png"), np.zeros((64, 128), np.uint16))
    return tmp_path


@pytest.mark.parametrize("gone", [LISTING, "images/a.png", "labels/a.png"])
def test_a_missing_file_is_said_by_name(small: Path, gone: str) -> None:
    """Catches an OpenCV error, or nothing at all, where a file was not unpacked."""
    assert len(read_images(small)) == 1
    (small / gone).unlink()
    with pytest.raises(RealDataError, match=Path(gone).name):
        read_images(small)


def test_labels_of_another_size_and_no_images_are_refused(small: Path) -> None:
    """Catches answers that lie elsewhere than the tissue they are about."""
    cv2.imwrite(str(small / "labels/a.png"), np.zeros((64, 64), np.uint16))
    with pytest.raises(RealDataError, match="size"):
        read_images(small)
    (small / "images/a.png").write_text("no image")
    with pytest.raises(RealDataError, match=r"a\.png can't be read"):
        read_images(small)


def test_a_written_folder_is_left_alone(small: Path, tmp_path: Path) -> None:
    """Catches a study that goes on with other data than it began with."""
    out = tmp_path / "out"
    write(out, read_images(small))
    with (out / MANIFEST).open() as file:
        assert {row["answer"] for row in csv.DictReader(file)} == {"3", "0"}
    before = (out / MANIFEST).stat().st_mtime_ns
    write(out, read_images(small))
    assert (out / MANIFEST).stat().st_mtime_ns == before

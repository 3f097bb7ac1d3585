"""Real stained tissue with labelled nuclei (a folder with `coco.json`, `images/` and `labels/`) as hospitals' slides.

One image is one patient and one slide: the source names no patients.  Hospitals are split by the stain that each image's
`stain_domain` names.  The source states no physical scale, so images are magnified `MAGNIFY` times and said to be of one
micrometre a pixel: a nucleus is then about as large as the glands that the embedded base was drawn.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from client.tasks.manifest_row import COLUMNS, OPTIONAL
from demo.cohort import MANIFEST
from demo.slide_writer import Identifiers, write_slide

LISTING = "coco.json"
MAGNIFY = 2
CROP = 128  # pixels a side of a region, after magnification, as of all that follow
MOST_OBJECTS = {"vqa": 10, "detection": 10, "segmentation": 5}  # what fits into an answer
OUTLINE_POINTS = 8
LEAST_PIXELS = 100  # of a nucleus inside a region: a smaller rest of one is not asked about
STAINS = {"purple_on_purple": "purple on purple", "purple_on_white": "purple on white", "pink_he": "pink"}
# The embedded base knows 648 tokens and no word for a nucleus or a colour: what it would have to spell letter by letter
# it does not learn in a few steps.  Objects are asked for in its own words, and stains are answered by letter.
QUESTIONS = {
    "classification": "Which stain is this?",
    "vqa": "How many nuclei are there?",
    "detection": "Box every gland.",
    "segmentation": "Outline the tumour.",
}
LETTERS = dict(zip(STAINS.values(), "ABC", strict=True))
STAIN_EVERY = 4  # regions: one word is sooner learnt than an outline, and would drown it
_SHUFFLE = 11
_PLANTED = Identifiers("none", "none", "none")


class RealDataError(Exception):
    """The folder of real images is not what it should be; says which file, and what to do."""


@dataclass(frozen=True)
class RealImage:
    """An image [H, W, 3] uint8, its label map [H, W] (0: no nucleus), and its stain, one of `STAINS`' values."""

    name: str
    stain: str
    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint16]


@dataclass(frozen=True)
class Nucleus:
    """What a region shows of a nucleus: its box (x1, y1, x2, y2) and outline [points, 2], in the region's pixels."""

    box: tuple[int, int, int, int]
    outline: NDArray[np.float64]


def read_images(folder: Path) -> list[RealImage]:
    """All images that the listing names, magnified, with their label maps.

    Raises `RealDataError` naming the file that is missing, is no image, or is of another size than its labels.
    """
    listing = folder / LISTING
    if not listing.is_file():
        raise RealDataError(f"{listing} is not there: DATA must be a folder with {LISTING}, images/, labels/")
    images = []
    for entry in json.loads(listing.read_text("utf-8"))["images"]:
        rgb = cv2.cvtColor(_read(folder / entry["file_name"], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        labels = _read(folder / entry["label_map"], cv2.IMREAD_UNCHANGED)
        if labels.shape != rgb.shape[:2]:
            raise RealDataError(f"{folder / entry['label_map']}: not of the size of {entry['file_name']}")
        size = (rgb.shape[1] * MAGNIFY, rgb.shape[0] * MAGNIFY)
        images.append(
            RealImage(
                Path(entry["file_name"]).stem,
                STAINS[entry["stain_domain"]],
                cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8),
                labels.astype(np.uint16).repeat(MAGNIFY, 0).repeat(MAGNIFY, 1),
            )
        )
    return images


def folds(images: Sequence[RealImage], count: int) -> dict[str, int]:
    """Each image's fold, 0 to count - 1, by its name: each stain's images dealt evenly over the folds, in a fixed shuffle.

    Where a stain has at least `count` images, every fold has some of it.
    """
    dealt: dict[str, int] = {}
    for number, stain in enumerate(STAINS.values()):
        own = sorted(image.name for image in images if image.stain == stain)
        for place, i in enumerate(np.random.default_rng((_SHUFFLE, number)).permutation(len(own))):
            dealt[own[i]] = place % count
    return dealt


def write(folder: Path, images: Sequence[RealImage]) -> None:
    """Slides and manifest of these images; a folder that has a manifest is left alone."""
    if (folder / MANIFEST).exists():
        return
    (folder / "slides").mkdir(parents=True, exist_ok=True)
    for image in images:
        write_slide(folder / "slides" / f"{image.name}.svs", image.rgb, 1.0, _PLANTED)
    part = folder / f"{MANIFEST}.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS + OPTIONAL, restval="")
        writer.writeheader()
        writer.writerows(row for image in images for row in rows(image))
    part.replace(folder / MANIFEST)


def rows(image: RealImage) -> list[dict[str, Any]]:
    """What is asked of an image's regions, which lie edge to edge: up to four questions each."""
    height, width = image.labels.shape
    return [
        {"patient": image.name, "slide": f"{image.name}.svs", "x": x, "y": y, "width": CROP, "height": CROP} | question
        for y in range(0, height - CROP + 1, CROP)
        for x in range(0, width - CROP + 1, CROP)
        for question in _questions(image, x, y)
    ]  # fmt: skip


def _questions(image: RealImage, x: int, y: int) -> list[dict[str, str]]:
    """The questions about a region, and their answers in the image's pixels.

    Boxes and outlines are asked for where there are nuclei, for "none" is soon learnt; and never more than an answer
    holds.
    """
    found = nuclei(image.labels[y : y + CROP, x : x + CROP])
    boxes = [[n.box[0] + x, n.box[1] + y, n.box[2] + x, n.box[3] + y] for n in found]
    outlines = [(n.outline + np.array((x, y))).tolist() for n in found]
    answers = {"vqa": {"answer": str(len(found))}}
    if (x + y) // CROP % STAIN_EVERY == 0:
        choices = json.dumps([*LETTERS.values()])
        answers["classification"] = {"answer": LETTERS[image.stain], "choices": choices}
    if found:
        answers["detection"] = {"boxes": json.dumps(boxes)}
        answers["segmentation"] = {"polygons": json.dumps(outlines)}
    return [
        {"task": task, "question": QUESTIONS[task]} | answer
        for task, answer in answers.items()
        if len(found) <= MOST_OBJECTS.get(task, len(found))
    ]


def nuclei(labels: NDArray[np.uint16]) -> list[Nucleus]:
    """The nuclei that a region's label map [h, w] shows, from top to bottom, then from left to right.

    Of one that is cut to pieces the largest counts.  Left out is what shows less than `LEAST_PIXELS`, and what keeps
    less than half of its own area in `OUTLINE_POINTS` points: slivers at the edge.
    """
    found = []
    for label in np.unique(labels[labels > 0]):
        contours, _ = cv2.findContours(
            (labels == label).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        ring = max(contours, key=cv2.contourArea)[:, 0]
        outline = _picked(ring)
        area = cv2.contourArea(ring)
        if area >= LEAST_PIXELS and cv2.contourArea(outline.astype(np.float32)) >= area / 2:
            (left, top), (right, bottom) = ring.min(0), ring.max(0) + 1  # a pixel has an extent
            found.append(Nucleus((int(left), int(top), int(right), int(bottom)), outline))
    return sorted(found, key=lambda n: (n.box[1], n.box[0]))


def _picked(ring: NDArray[np.int32]) -> NDArray[np.float64]:
    """At most `OUTLINE_POINTS` of a contour [points, 2], evenly along it, clockwise from its top; pixels' centres."""
    if cv2.contourArea(ring, oriented=True) < 0:
        ring = ring[::-1]
    ring = np.roll(ring, -int(ring[:, 1].argmin()), axis=0)
    picked = np.linspace(0, len(ring), min(OUTLINE_POINTS, len(ring)), endpoint=False).astype(int)
    return ring[picked] + 0.5


def _read(path: Path, how: int) -> NDArray[Any]:
    if not path.is_file():
        raise RealDataError(f"{path} is listed in {LISTING} and not there: unpack the data again")
    image = cv2.imread(str(path), how)
    if image is None:
        raise RealDataError(f"{path} can't be read as an image: unpack the data again")
    return np.asarray(image)

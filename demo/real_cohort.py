"""Real stained tissue with labelled nuclei (a folder with `coco.json`, `images/` and `labels/`) as hospitals' slides.

One image is one patient and one slide: the source names no patients.  Hospitals are split by the stain that each image's
`stain_domain` names.  The source states no physical scale, so images are magnified `MAGNIFY` times and said to be of one
micrometre a pixel: seen in a field a nucleus is then about as large as the glands that the embedded base was drawn, and
seen in a close-up as large as its tumour nests.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from client.tasks.manifest_row import COLUMNS, OPTIONAL
from demo.cohort import MANIFEST
from demo.slide_writer import Identifiers, write_slide

LISTING = "coco.json"
MAGNIFY = 4
FIELD = 256  # pixels a side of a region with several nuclei, after magnification, as of all that follow
CLOSE_UP = 128  # of a region about one nucleus
SHIFT = 24  # most that a nucleus' centre is off its close-up's, so that the middle is no answer
MOST_OBJECTS = {"vqa": 9, "detection": 4}  # as many as the base knows to count, and to box
OUTLINE_POINTS = 8
LEAST_PIXELS = 400  # of a nucleus: a smaller one is not asked about
STAINS = {"purple_on_purple": "purple on purple", "purple_on_white": "purple on white", "pink_he": "pink"}
# The embedded base knows 648 tokens and no word for a nucleus or a colour: what it would have to spell letter by letter
# it does not learn in a few steps.  Objects are asked for in its own words, and stains are answered by number.
QUESTIONS = {
    "classification": "Which stain is this?",
    "vqa": "How many glands are there?",
    "detection": "Box every gland.",
    "segmentation": "Outline the tumour.",
}
NUMBERS = dict(zip(STAINS.values(), "123", strict=True))
# Fields: one word is sooner learnt than a list of boxes, and would drown it.
STAIN_EVERY, COUNT_EVERY = 4, 2
CLOSE_UPS = 12  # of an image, at most
_SHUFFLE = 11
_PLANTED = Identifiers("none", "none", "none")


class RealDataError(Exception):
    """The folder of real images is not what it should be; says which file, and what to do."""


@dataclass(frozen=True)
class RealImage:
    """An image [H, W, 3] uint8, its label map [H, W] (0: no nucleus), and its stain, one of `STAINS`' values; as they
    lie in the folder, not magnified."""

    name: str
    stain: str
    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint16]


@dataclass(frozen=True)
class Nucleus:
    """A nucleus' box (x1, y1, x2, y2) and outline [points, 2], in the magnified image's pixels."""

    box: tuple[int, int, int, int]
    outline: NDArray[np.float64]

    @property
    def centre(self) -> tuple[int, int]:
        """Of its box."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) // 2, (y1 + y2) // 2


def read_images(folder: Path) -> list[RealImage]:
    """All images that the listing names, with their label maps.

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
        stain = STAINS[entry["stain_domain"]]
        images.append(
            RealImage(Path(entry["file_name"]).stem, stain, rgb.astype(np.uint8), labels.astype(np.uint16))
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
        size = (image.rgb.shape[1] * MAGNIFY, image.rgb.shape[0] * MAGNIFY)
        rgb = cv2.resize(image.rgb, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        write_slide(folder / "slides" / f"{image.name}.svs", rgb, 1.0, _PLANTED)
    part = folder / f"{MANIFEST}.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS + OPTIONAL, restval="")
        writer.writeheader()
        writer.writerows(row for image in images for row in rows(image))
    part.replace(folder / MANIFEST)


def rows(image: RealImage) -> list[dict[str, Any]]:
    """What is asked of an image: of fields, which lie edge to edge, and of close-ups of single nuclei."""
    found = nuclei(image.labels)
    return [
        {"patient": image.name, "slide": f"{image.name}.svs", "question": QUESTIONS[asked["task"]]} | asked
        for asked in (*_fields(image, found), *_close_ups(image, found))
    ]


def _fields(image: RealImage, found: Sequence[Nucleus]) -> Iterator[dict[str, Any]]:
    """Stain, number and boxes of the nuclei whose centre a field shows.

    Boxes are asked for where there is a nucleus, for "none" is soon learnt; and never more than an answer holds.
    """
    height, width = (side * MAGNIFY for side in image.labels.shape)
    corners = [
        (x, y) for y in range(0, height - FIELD + 1, FIELD) for x in range(0, width - FIELD + 1, FIELD)
    ]
    for number, (x, y) in enumerate(corners):
        field = {"x": x, "y": y, "width": FIELD, "height": FIELD}
        inside = [n for n in found if x <= n.centre[0] < x + FIELD and y <= n.centre[1] < y + FIELD]
        boxes = np.array([n.box for n in inside]).reshape(-1, 2, 2).clip((x, y), (x + FIELD, y + FIELD))
        if number % STAIN_EVERY == 0:
            choices = json.dumps([*NUMBERS.values()])
            yield field | {"task": "classification", "answer": NUMBERS[image.stain], "choices": choices}
        if number % COUNT_EVERY == 0 and len(inside) <= MOST_OBJECTS["vqa"]:
            yield field | {"task": "vqa", "answer": str(len(inside))}
        if 0 < len(inside) <= MOST_OBJECTS["detection"]:
            yield field | {"task": "detection", "boxes": json.dumps(boxes.reshape(-1, 4).tolist())}


def _close_ups(image: RealImage, found: Sequence[Nucleus]) -> Iterator[dict[str, Any]]:
    """The outline of the nucleus nearest to the middle, whole; of many nuclei, `CLOSE_UPS` spread over the image.

    A nucleus that a close-up can't hold is left out: cut outlines run along the edge, and lose their form.
    """
    sides = np.array(image.labels.shape[::-1]) * MAGNIFY
    random = np.random.default_rng((_SHUFFLE, crc32(image.name.encode())))
    fitting = [n for n in found if max(n.box[2] - n.box[0], n.box[3] - n.box[1]) <= CLOSE_UP - MAGNIFY]
    for i in np.unique(np.linspace(0, len(fitting) - 1, CLOSE_UPS).astype(int)) if fitting else ():
        box, outline = np.array(fitting[i].box).reshape(2, 2), fitting[i].outline
        corner = fitting[i].centre + random.integers(-SHIFT, SHIFT + 1, 2) - CLOSE_UP // 2
        corner = corner.clip(box[1] - CLOSE_UP, box[0]).clip(0, sides - CLOSE_UP) // MAGNIFY * MAGNIFY
        yield {
            "task": "segmentation", "x": int(corner[0]), "y": int(corner[1]), "width": CLOSE_UP, "height": CLOSE_UP,
            "polygons": json.dumps([outline.tolist()]),
        }  # fmt: skip


def nuclei(labels: NDArray[np.uint16]) -> list[Nucleus]:
    """The nuclei of a label map [h, w], from top to bottom, then from left to right, magnified.

    Of one that is cut to pieces the largest counts.  Left out is what has less than `LEAST_PIXELS`, and what keeps
    less than half of its own area in `OUTLINE_POINTS` points: slivers.
    """
    found = []
    for label in np.unique(labels[labels > 0]):
        contours, _ = cv2.findContours(
            (labels == label).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        ring = max(contours, key=cv2.contourArea)[:, 0]
        outline = _picked(ring) * MAGNIFY
        area = cv2.contourArea(ring) * MAGNIFY**2
        if area >= LEAST_PIXELS and cv2.contourArea(outline.astype(np.float32)) >= area / 2:
            (left, top), (right, bottom) = (
                ring.min(0) * MAGNIFY,
                (ring.max(0) + 1) * MAGNIFY,
            )  # a pixel has an extent
            found.append(Nucleus((int(left), int(top), int(right), int(bottom)), outline))
    return sorted(found, key=lambda n: (n.centre[1], n.centre[0]))


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

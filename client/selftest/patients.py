"""Made-up patients, with slides as real files: drawn from their names alone, so there is nothing private in them."""

from __future__ import annotations

import csv
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from client.model.base import Base
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.model.visual import Visual
from client.slides.index import index_slides
from client.tasks.manifest_row import COLUMNS
from client.tasks.sample import Box, Boxes, Label, Polygon, Polygons, Region, Sample, Text

SIDE = 256  # pixels of a slide
WHOLE = Region(0, 0, SIDE, SIDE)
SHORT = "Which tissue?"
Cohort = Mapping[str, Sequence[Sample]]  # patient -> samples


def questions(patient: str, slide: str) -> list[Sample]:
    """Every task once about a region, and one question about the slide."""
    box = Box(100, 100, 400, 500)
    triangle = Polygon(((100, 100), (600, 120), (300, 700)))
    return [
        Sample(patient, slide, WHOLE, "classification", SHORT, Label("stroma")),
        Sample(patient, slide, WHOLE, "detection", "Box the glands.", Boxes((box,))),
        Sample(patient, slide, WHOLE, "segmentation", "Outline the tumour.", Polygons((triangle,))),
        Sample(patient, slide, WHOLE, "vqa", "How many glands are there?", Text("3")),
        Sample(patient, slide, None, "classification", "Diagnosis?", Label("carcinoma")),
    ]


def ordinary(patient: str) -> list[Sample]:
    """A patient with one slide."""
    return questions(patient, f"{patient}.svs")


def short(patient: str) -> list[Sample]:
    """A patient with one short question; all such patients share a slide, so that they pull one way."""
    return [Sample(patient, "shared.svs", WHOLE, "classification", SHORT, Label("fat"))]


def many_slides(patient: str) -> list[Sample]:
    """A patient with several slides, each asked about twice."""
    return [s for i in range(4) for s in questions(patient, f"{patient}-{i}.svs")[::4]]


def duplicates(patient: str) -> list[Sample]:
    """A patient whose one question was entered eight times."""
    return short(patient) * 8


def wordy(patient: str) -> list[Sample]:
    """A patient with an answer far longer than the others'."""
    boxes = Boxes(tuple(Box(10 * i, 10 * i, 10 * i + 200, 10 * i + 300) for i in range(12)))
    return [Sample(patient, f"{patient}.svs", WHOLE, "detection", "Box the glands.", boxes)]


def talkative(patient: str) -> list[Sample]:
    """A patient with a question far longer than the others'."""
    return [replace(sample, question="Which tissue, and how sure? " * 4 + SHORT) for sample in short(patient)]


def write_slides(folder: Path, samples: Sequence[Sample]) -> None:
    """Write each slide that the samples name, as a small tiled TIFF file that OpenSlide reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted({sample.slide for sample in samples}):
        (folder / name).write_bytes(_tiff(_picture(name)))


def write_manifest(path: Path, samples: Sequence[Sample]) -> None:
    """Write the samples as a hospital writes its labels; regions and answers in level-0 pixels."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(_row(sample) for sample in samples)


@dataclass(frozen=True)
class Spoilt:
    """Inputs of which some patients' are spoilt: every value of `huge`'s is multiplied, of `broken`'s is NaN."""

    inputs: InputLoader
    huge: str
    broken: str

    def __call__(self, samples: Sequence[Sample]) -> list[Visual]:
        """As `InputLoader`, and then spoilt."""
        factors = {self.huge: 1e4, self.broken: float("nan")}
        loaded = zip(self.inputs(samples), samples, strict=True)
        return [_times(visual, factors.get(sample.patient, 1.0)) for visual, sample in loaded]


def open_inputs(base: Base, slides: Path, features: Path) -> InputLoader:
    """What reads these slides for a base, as at a hospital."""
    return InputLoader(index_slides(slides).slides, SlideFeatures(base, features))


def _times(visual: Visual, factor: float) -> Visual:
    if factor == 1.0:
        return visual
    deep = tuple(layer * factor for layer in visual.deepstack)
    return replace(visual, tokens=torch.mul(visual.tokens, factor), deepstack=deep)


def _row(sample: Sample) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "") | {"patient": sample.patient, "slide": sample.slide}
    row |= {"task": sample.task, "question": sample.question}
    if sample.region is not None:
        place = ("x", "y", "width", "height")
        row |= {key: str(getattr(sample.region, key)) for key in place}
    answer, pixel = sample.answer, SIDE / 1000
    match answer:
        case Label(text) | Text(text):
            row["answer"] = text
        case Boxes(boxes):
            row["boxes"] = json.dumps([[round(v * pixel) for v in (b.x1, b.y1, b.x2, b.y2)] for b in boxes])
        case Polygons(polygons):
            row["polygons"] = json.dumps(
                [[[round(v * pixel) for v in p] for p in g.points] for g in polygons]
            )
    return row


def _picture(name: str) -> NDArray[np.uint8]:
    """Stained-looking blocks [SIDE, SIDE, 3]; the same name gives the same picture."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    blocks = random.integers((120, 40, 100), (220, 140, 190), (SIDE // 16, SIDE // 16, 3)).astype(np.uint8)
    return blocks.repeat(16, axis=0).repeat(16, axis=1)


def _tiff(picture: NDArray[np.uint8]) -> bytes:
    """One uncompressed tile with half a micron a pixel: header, tile, three long values, directory."""
    tile = picture.tobytes()
    about = b"Aperio|MPP = 0.5\0\0"  # an even length: what follows starts on a word
    bits_at = 8 + len(tile)
    about_at = bits_at + 6
    directory_at = about_at + len(about)
    short_type, text, long_type = 3, 2, 4
    entries = (
        (256, long_type, 1, SIDE),
        (257, long_type, 1, SIDE),
        (258, short_type, 3, bits_at),
        (259, short_type, 1, 1),  # not compressed
        (262, short_type, 1, 2),  # RGB
        (270, text, len(about), about_at),
        (277, short_type, 1, 3),
        (284, short_type, 1, 1),
        (322, long_type, 1, SIDE),
        (323, long_type, 1, SIDE),
        (324, long_type, 1, 8),
        (325, long_type, 1, len(tile)),
    )
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    head = struct.pack("<2sHI", b"II", 42, directory_at)
    return head + tile + struct.pack("<3H", 8, 8, 8) + about + directory + struct.pack("<I", 0)

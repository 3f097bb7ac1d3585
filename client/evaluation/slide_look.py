"""Look at one slide as the model will: its tissue, the base's tiles on it, and what the manifest asks about it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from client.errors import ClientError
from client.evaluation.house import EvaluationError, open_questions
from client.evaluation.slide_picture import SIDE, Shown, marks_of, slide_picture
from client.home import Home
from client.model.base import Scales
from client.slides.files import list_slides
from client.slides.names import FileNames
from client.slides.slide import Slide, open_slide
from client.slides.tiles import grid_over, tissue_cells
from client.slides.tissue_map import tissue_map, whole_slide
from client.tasks.sample import Sample
from privacy import durable


def check_there(home: Home, written: Path, path: Path) -> None:
    """Raise `EvaluationError`, with slides that are spelled nearly so, where what was `written` is no file."""
    if path.exists():
        return
    near = FileNames(file.name for file in list_slides(home.settings.slides).files).near(written.as_posix())
    advice = f"is {' or '.join(near)} meant?" if near else "give its name in the slide folder, or a path"
    raise EvaluationError(f"unknown slide {str(written)!r}: {advice}")


def asked_about(home: Home, slide: Slide) -> tuple[tuple[Sample, ...], str | None]:
    """What the home's manifest asks about this slide, and a note where that is unknown; patients who withdrew are not
    asked about. A slide that lies elsewhere has no questions."""
    try:
        questions = open_questions(home)
    except ClientError:
        return (
            (),
            "the manifest can't be read as it is: `fedpath-hospital check` says why; nothing of it is drawn",
        )
    for name, known in questions.slides.items():
        if known.path.name == slide.path.name and known.path.samefile(slide.path):
            return tuple(sample for sample in questions.samples if sample.slide == name), None
    return (), "it is no slide that the manifest could ask about"


def look(slide: Slide, scales: Scales, samples: Sequence[Sample]) -> Shown:
    """Read the slide, find its tissue, cut it; what can't be read is white. Raises SlideError."""
    with open_slide(slide.path, slide.mpp) as reader:
        tissue = tissue_map(reader)
        scale = max(1.0, max(slide.width, slide.height) / (2 * SIDE))
        image, _ = whole_slide(reader, slide.mpp * scale)
    grid = grid_over(slide, scales.wsi_mpp, scales.roi_pixels)
    return Shown(image, tissue, grid, tissue_cells(tissue, grid), marks_of(samples))


def write_picture(file: Path, shown: Shown) -> None:
    """As a PNG for this user alone, without metadata. Raises `EvaluationError` where the file can't be written."""
    buffer = io.BytesIO()
    slide_picture(shown).save(buffer, "PNG")
    try:
        durable.replace(file, buffer.getvalue())
    except OSError as error:
        raise EvaluationError(
            f"{file}: {error.strerror}: name a file in a folder that this user may write"
        ) from None

"""A hospital's labels: one file of questions and answers beside its slides.

It is read whole or not at all, unless the hospital's policy says that good rows are used without the bad ones. The format
is documented in docs/manifest.md. Reading turns level-0 pixels into the answers' frame; nothing after it knows of slide
coordinates of answers.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from client.errors import ManifestError, ManifestFileError, Problem
from client.slides.index import SlideIndex
from client.slides.names import FileNames
from client.tasks.cells import CellError
from client.tasks.manifest_row import read_row
from client.tasks.manifest_table import HEADER, Row, read_rows
from client.tasks.owners import Owners
from client.tasks.sample import Sample


@dataclass(frozen=True)
class Manifest:
    """The samples of a manifest in the file's order, and how many rows each skipped slide took with it.

    `problems` were left out with their rows, and `left_out` counts all rows that were: those of a patient or slide that
    a problem makes suspect, too.
    """

    samples: tuple[Sample, ...]
    skipped_rows: Mapping[str, int]
    problems: tuple[Problem, ...] = ()
    left_out: int = 0


def read_manifest(
    path: Path, index: SlideIndex, skip_bad_rows: bool = False, image_token: str | None = None
) -> Manifest:
    """Read a CSV (.csv) or Parquet (.parquet) manifest against the slides of a folder.

    Rows about a slide that was skipped (a bad slide, listed elsewhere) are left out and counted. Where a
    `patients.csv` with a column `patient` lies beside the manifest, each patient must stand in it. Slides of the same
    content are one slide, and have one patient. A question that holds the base's `image_token` is a problem: it could not be
    told from the image's.

    Raises ManifestError with every problem of the file, each by row and column; then nothing was read. With
    `skip_bad_rows` bad rows are left out instead, and with them all rows of each patient and slide that a contradiction
    about patients names; it still raises for a file whose rows can't be told apart, and where nothing would be left.
    """
    slides = _Slides(index)
    owners = Owners(index.copies, _patients(path.with_name("patients.csv")))
    samples: list[Sample] = []
    problems: list[Problem] = []
    skipped: Counter[str] = Counter()
    rows = lost = 0
    for row in read_rows(path):
        rows, lost = rows + 1, lost + row.lost
        slide = slides.of(row)
        problem = _whose(row, slide, owners)
        if problem is not None:
            problems.append(problem)
        elif isinstance(slide, Problem):
            problems.append(slide)
        elif slide in index.skipped:
            skipped[slide] += 1
        elif image_token is not None and image_token in row.cells["question"]:
            what = f"it holds {image_token!r}, which stands for the image"
            problems.append(row.problem("question", what, "ask it without the base's own token of an image"))
        else:
            try:
                samples.append(read_row(row.cells, index.slides[slide]))
            except CellError as error:
                problems.append(row.problem(error.column, error.what, error.advice))
    if not rows:
        problems.append(Problem(HEADER, "patient", "the file has no rows", "write at least one question"))
    kept = tuple(sample for sample in samples if not owners.suspect(sample.patient, sample.slide))
    nothing_left = not kept and not skipped
    if problems and (not skip_bad_rows or lost or nothing_left):
        raise ManifestError(path.name, problems)
    return Manifest(kept, dict(skipped), tuple(problems), rows - len(kept) - skipped.total())


def slide_patients(path: Path, index: SlideIndex) -> dict[str, str | None]:
    """Whose each slide is that the manifest asks about, by its name in the index; None where rows contradict each other.
    Of the rows' other cells nothing is asked, and two names of one content are two slides here.

    Raises ManifestError for a file that can't be read, or has not these two columns.
    """
    slides, owners = _Slides(index), Owners({}, None)
    found: dict[str, str] = {}
    for row in read_rows(path, ("patient", "slide")):
        slide = slides.of(row)
        if isinstance(slide, str):
            found.setdefault(slide, row.cells["patient"])
        if _whose(row, slide, owners) is not None and isinstance(slide, str):
            owners.doubt(slide)
    return {name: None if owners.suspect(patient, name) else patient for name, patient in found.items()}


class _Slides:
    """The slides of an index by the names that rows give them."""

    def __init__(self, index: SlideIndex) -> None:
        self._parts = index.parts
        self._names = FileNames([*index.slides, *index.skipped, *index.parts])
        self._found: dict[str, tuple[str, ...]] = {}

    def of(self, row: Row) -> str | Problem:
        """The slide that a row is about, or what is wrong with its name."""
        written = row.cells["slide"]
        if written not in self._found:
            meant = self._names.find(written)
            self._found[written] = tuple(dict.fromkeys(self._parts.get(name, name) for name in meant))
        meant = self._found[written]
        if len(meant) == 1:
            return meant[0]
        if meant:
            what = f"slide {written!r} may be any of {', '.join(meant)}"
            return row.problem("slide", what, "give its path inside the slide folder")
        return row.problem(
            "slide", f"unknown slide {written!r}", "give the name of a file in the slide folder"
        )


def _whose(row: Row, slide: str | Problem, owners: Owners) -> Problem | None:
    """What is wrong with a row, or with its patient; the owners learn of both in any case."""
    name = slide if isinstance(slide, str) else None
    if row.flaw is not None and row.flaw.column == "patient":
        owners.doubt(name)
        return row.flaw
    problem = owners.take(row, name)
    return row.flaw or problem


def _patients(path: Path) -> frozenset[str] | None:
    """The patients that `patients.csv` lists, None where there is no such file."""
    if not path.exists():
        return None
    try:
        return frozenset(_listed(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestFileError.of(path, error) from None


def _listed(path: Path) -> Iterator[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if "patient" not in (reader.fieldnames or ()):
            problem = Problem(HEADER, "patient", "the column is missing", "name the column of patients so")
            raise ManifestError(path.name, [problem])
        for row in reader:
            yield (row["patient"] or "").strip()

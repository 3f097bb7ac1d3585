"""An import from end to end: read the source, make rows, check them as a manifest's reader will, write them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client import data
from client.home import Home
from client.imports.coco import read_coco
from client.imports.found import Found, ImportProblem, ImportSourceError
from client.imports.labels_csv import label_rows, read_mapping
from client.imports.questions import Questions
from client.imports.qupath import read_qupath
from client.imports.rows import Draft, Row, checked, question_rows
from client.imports.slides import Patients, SlideNames, read_csv
from client.slides.index import index_slides
from client.slides.scales import FILE, read_scales
from client.tasks.manifest_row import COLUMNS, OPTIONAL
from privacy import durable

_JSON = (".json", ".geojson")


@dataclass(frozen=True)
class Imported:
    """What was written, and the problems that were skipped."""

    rows: int
    patients: int
    slides: int
    tasks: dict[str, int]
    problems: tuple[ImportProblem, ...]


@dataclass(frozen=True)
class Asking:
    """How annotations are turned into questions: see `question_rows`."""

    questions: Questions
    patients: Patients
    side: int | None
    only_present: bool


def open_slides(place: Path, out: Path) -> SlideNames:
    """The slides of a home, or of a folder of slides, those that can't serve apart. Raises `ClientError`.

    A home's are known from its catalogue; a folder's scales may stand in `mpp.csv` beside the manifest to be written.
    """
    if (place / "hospital.toml").exists():
        index = data.open_slides(Home(place.absolute()))
    else:
        index = index_slides(place, scales=read_scales(out.with_name(FILE)))
    return SlideNames(index.slides, index.skipped)


def import_coco(file: Path, slides: SlideNames, asking: Asking, out: Path, skip: bool) -> Imported:
    """Import one COCO file. Raises ImportSourceError with every problem, unless `skip`; then nothing is written."""
    return _import_found(read_coco(_load(file), slides), slides, asking, out, skip)


def import_qupath(
    place: Path, region_class: str, slides: SlideNames, asking: Asking, out: Path, skip: bool
) -> Imported:
    """Import a GeoJSON file, or all of a folder. Raises as `import_coco`."""
    files = sorted(p for p in place.iterdir() if p.suffix.lower() in _JSON) if place.is_dir() else [place]
    if not files:
        raise ImportSourceError(
            [ImportProblem(str(place), "it holds no .geojson file", "export from QuPath")]
        )
    documents: dict[str, Any] = {}
    problems: list[ImportProblem] = []
    for file in files:
        try:
            documents[file.name] = _load(file)
        except ImportSourceError as error:
            problems += error.problems
    found = read_qupath(documents, slides, region_class)
    found = Found(found.fields, found.annotations, found.labels, (*problems, *found.problems))
    return _import_found(found, slides, asking, out, skip)


def import_labels(file: Path, mapping: Path, slides: SlideNames, out: Path, skip: bool) -> Imported:
    """Import a CSV of slide labels. Raises as `import_coco`."""
    columns = read_mapping(mapping)
    drafts, problems = label_rows(read_csv(file, columns.columns), file.name, columns, slides)
    return _write(drafts, problems, slides, out, skip)


def _import_found(found: Found, slides: SlideNames, asking: Asking, out: Path, skip: bool) -> Imported:
    drafts, problems = question_rows(
        found, asking.questions, asking.patients, asking.side, asking.only_present
    )
    return _write(drafts, [*found.problems, *problems], slides, out, skip)


def _write(
    drafts: Sequence[Draft], problems: Sequence[ImportProblem], slides: SlideNames, out: Path, skip: bool
) -> Imported:
    """The manifest appears whole or not at all, for its owner's eyes alone."""
    rows, refused = checked(drafts, slides.slides)
    problems = [*problems, *refused]
    if not rows:
        problems.append(
            ImportProblem("the source", "no question came of it", "see docs/howto/import-labels.md")
        )
    if out.exists():
        problems.append(ImportProblem(str(out), "the file is there already", "name another, or delete it"))
    elif not out.parent.is_dir():
        problems.append(ImportProblem(str(out), "its folder is not there", "make it"))
    if problems and (not skip or not rows or out.exists() or not out.parent.is_dir()):
        raise ImportSourceError(problems)
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS + OPTIONAL)
    writer.writeheader()
    writer.writerows(rows)
    try:
        durable.replace(out, table.getvalue().encode())
    except OSError as error:
        problem = ImportProblem(str(out), f"it can't be written ({error.strerror})", "name another place")
        raise ImportSourceError([problem]) from None
    return _counted(rows, problems)


def _counted(rows: Sequence[Row], problems: Sequence[ImportProblem]) -> Imported:
    distinct = {column: len({row[column] for row in rows}) for column in ("patient", "slide")}
    tasks = dict(sorted(Counter(row["task"] for row in rows).items()))
    return Imported(len(rows), distinct["patient"], distinct["slide"], tasks, tuple(problems))


def _load(file: Path) -> object:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        what = f"it can't be read as JSON ({type(error).__name__})"
        raise ImportSourceError([ImportProblem(file.name, what, "export it again")]) from None

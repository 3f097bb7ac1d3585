"""An import from end to end: read the source, make questions of it, write what a manifest's reader reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from client import data
from client.home import Home
from client.imports.coco import read_coco
from client.imports.found import Found, ImportProblem, ImportSourceError
from client.imports.json_file import SUFFIXES, read_json
from client.imports.labels_csv import label_rows, read_mapping
from client.imports.manifest_file import Imported, write_checked
from client.imports.questions import Questions
from client.imports.qupath import read_qupath
from client.imports.rows import question_rows
from client.imports.slides import Patients, SlideNames
from client.imports.table import read_table
from client.imports.telling import told
from client.slides.index import Looking, index_slides
from client.slides.scales import FILE, read_scales
from privacy.progress import Tell, quietly


@dataclass(frozen=True)
class Asking:
    """How annotations are turned into questions: see `question_rows`."""

    questions: Questions
    patients: Patients
    side: int | None
    only_present: bool


def open_slides(place: Path, out: Path, tell: Tell = quietly) -> SlideNames:
    """The slides of a home, or of a folder of slides, those that can't serve apart. Raises `ClientError`.

    A home's are known from its catalogue; a folder's scales may stand in `mpp.csv` beside the manifest to be written.
    """
    looking = Looking(tell=tell)
    if (place / "hospital.toml").exists():
        return SlideNames(data.open_slides(Home(place.absolute()), looking))
    return SlideNames(index_slides(place, scales=read_scales(out.with_name(FILE)), looking=looking))


def import_coco(
    file: Path, slides: SlideNames, asking: Asking, out: Path, skip: bool, tell: Tell = quietly
) -> Imported:
    """Import one COCO file. Raises ImportSourceError with every problem, unless `skip`; then nothing is written."""
    tell("reading the file", 0, 1)
    return _import_found(read_coco(read_json(file), slides, tell), slides, asking, out, skip, tell)


def import_qupath(
    place: Path,
    region_class: str,
    slides: SlideNames,
    asking: Asking,
    out: Path,
    skip: bool,
    tell: Tell = quietly,
) -> Imported:
    """Import a GeoJSON file, or all of a folder. Raises as `import_coco`."""
    files = _exports(place) if place.is_dir() else [place]
    if not files:
        raise ImportSourceError(
            [ImportProblem(str(place), "it holds no .geojson file", "export from QuPath")]
        )
    problems: list[ImportProblem] = []
    found = read_qupath(_documents(files, problems, tell), slides, region_class)
    found = replace(found, problems=(*problems, *found.problems))
    return _import_found(found, slides, asking, out, skip, tell)


def import_labels(
    file: Path, mapping: Path, slides: SlideNames, out: Path, skip: bool, tell: Tell = quietly
) -> Imported:
    """Import a CSV of slide labels. Raises as `import_coco`."""
    columns = read_mapping(mapping)
    tell("reading the table", 0, 1)
    drafts, problems = label_rows(read_table(file, columns.columns), columns, slides)
    return write_checked(drafts, problems, slides.index, out, skip)


def _exports(folder: Path) -> list[Path]:
    """Its files of annotations; what begins with a dot is another system's leftover. Raises ImportSourceError."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        what = f"it can't be listed ({error.strerror})"
        raise ImportSourceError(
            [ImportProblem(str(folder), what, "give a folder that may be read")]
        ) from None
    return [p for p in inside if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]


def _documents(
    files: Sequence[Path], problems: list[ImportProblem], tell: Tell
) -> Iterator[tuple[str, object]]:
    for file in told(files, "reading files", tell):
        try:
            yield file.name, read_json(file)
        except ImportSourceError as error:
            problems += error.problems


def _import_found(
    found: Found, slides: SlideNames, asking: Asking, out: Path, skip: bool, tell: Tell
) -> Imported:
    drafts, problems = question_rows(
        found, asking.questions, asking.patients, asking.side, asking.only_present, tell
    )
    idle = asking.questions.idle(found.labels)
    tell("reading what will be written", 0, 1)
    return write_checked(drafts, [*idle, *found.problems, *problems], slides.index, out, skip)

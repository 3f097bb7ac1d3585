"""A hospital's labels: one file of questions and answers beside its slides, read whole or not at all.

The format is documented in docs/manifest.md. Reading turns level-0 pixels into the answers' frame; nothing
after it knows of slide coordinates of answers.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from client.errors import ManifestError, Problem
from client.slides.slide import Slide
from client.tasks.cells import CellError
from client.tasks.manifest_row import COLUMNS, OPTIONAL, read_row
from client.tasks.patient import identity
from client.tasks.sample import Sample

_HEADER = 1  # rows count as in a spreadsheet: the header is row 1
_BEYOND = "(beyond the header)"

_Table = tuple[list[str], list[tuple[int, dict[str, object]]]]  # the columns; rows with their numbers


@dataclass(frozen=True)
class Manifest:
    """The samples of a manifest in the file's order, and how many rows each skipped slide took with it."""

    samples: tuple[Sample, ...]
    skipped_rows: Mapping[str, int]


@dataclass
class _Reading:
    """What has been learnt so far while going down the rows."""

    slides: Mapping[str, Slide]
    skipped: Collection[str]
    patients: frozenset[str] | None
    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    skipped_rows: Counter[str] = field(default_factory=Counter)
    owner: dict[str, tuple[str, int]] = field(default_factory=dict)  # slide -> patient, row that said so
    spelt: dict[str, tuple[str, int]] = field(
        default_factory=dict
    )  # identity -> the key's spelling, its first row


def read_manifest(path: Path, slides: Mapping[str, Slide], skipped: Collection[str] = ()) -> Manifest:
    """Read a CSV (.csv) or Parquet (.parquet) manifest against the slides that were opened.

    Rows about a slide in `skipped` (a bad slide, listed elsewhere) are left out and counted. Where a
    `patients.csv` with a column `patient` lies beside the manifest, each patient must stand in it. Raises
    ManifestError with every problem of the file, each by row and column; then nothing was read.
    """
    rows = _rows(path)
    reading = _Reading(slides, skipped, _patients(path.with_name("patients.csv")))
    for number, row in rows:
        _take(reading, number, row)
    if not rows:
        reading.problems.append(
            Problem(_HEADER, "patient", "the file has no rows", "write at least one question")
        )
    if reading.problems:
        raise ManifestError(path.name, reading.problems)
    return Manifest(tuple(reading.samples), dict(reading.skipped_rows))


def _take(reading: _Reading, number: int, row: Mapping[str, str]) -> None:
    """Check one row and keep its sample, or its problem, or count it with its skipped slide."""
    try:
        _check_names(reading, number, row)
        if row["slide"] in reading.skipped:
            reading.skipped_rows[row["slide"]] += 1
            return
        reading.samples.append(read_row(row, reading.slides[row["slide"]]))
    except CellError as error:
        reading.problems.append(Problem(number, error.column, error.what, error.advice))


def _check_names(reading: _Reading, number: int, row: Mapping[str, str]) -> None:
    patient, slide = row["patient"], row["slide"]
    if not patient:
        raise CellError("patient", "it is empty", "every row belongs to one patient: name them")
    spelling, first = reading.spelt.setdefault(identity(patient), (patient, number))
    if spelling != patient:
        what = f"{patient!r} is {spelling!r} of row {first} in another spelling"
        raise CellError("patient", what, "spell one patient's key alike in all rows, or make the keys unlike")
    if reading.patients is not None and patient not in reading.patients:
        raise CellError(
            "patient", f"unknown patient {patient!r}", "add them to patients.csv or mend the name"
        )
    if slide not in reading.slides and slide not in reading.skipped:
        raise CellError("slide", f"unknown slide {slide!r}", "give the name of a file in the slide folder")
    owner, first = reading.owner.setdefault(slide, (patient, number))
    if owner != patient:
        what = f"slide {slide!r} belongs to patient {owner!r} in row {first} and to {patient!r} here"
        raise CellError("patient", what, "a slide has one patient: the patient is what privacy protects")


def _patients(path: Path) -> frozenset[str] | None:
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if "patient" not in (reader.fieldnames or ()):
            problem = Problem(_HEADER, "patient", "the column is missing", "name the column of patients so")
            raise ManifestError(path.name, [problem])
        return frozenset((row["patient"] or "").strip() for row in reader)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """All rows with their numbers, as stripped text by column, after the header was checked."""
    try:
        header, rows = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        what = f"the file can't be read ({type(error).__name__})"
        problem = Problem(_HEADER, "patient", what, "give a UTF-8 .csv or a .parquet file")
        raise ManifestError(path.name, [problem]) from None
    known = COLUMNS + OPTIONAL
    problems = [
        Problem(_HEADER, column, "the column is missing", "add it; its cells may be empty")
        for column in COLUMNS
        if column not in header
    ]
    problems += [
        Problem(_HEADER, column, "unknown column", f"there are {', '.join(known)}")
        for column in header
        if column not in known
    ]
    problems += [
        Problem(_HEADER, column, "the column stands there twice", "keep one")
        for column, times in Counter(header).items()
        if times > 1
    ]
    problems += [
        Problem(number, _BEYOND, "the row has more cells than the header", "quote cells that hold commas")
        for number, row in rows
        if _BEYOND in row
    ]
    if problems:
        raise ManifestError(path.name, problems)
    return [(number, {column: _text(row.get(column)) for column in known}) for number, row in rows]


def _read_csv(path: Path) -> _Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *records = list(csv.reader(file, strict=True)) or [[]]
    header = [column.strip() for column in header]
    rows: list[tuple[int, dict[str, object]]] = []
    for number, cells in enumerate(records, start=_HEADER + 1):
        row: dict[str, object] = dict(zip(header, cells, strict=False))
        if len(cells) > len(header):
            row[_BEYOND] = cells[len(header) :]
        if any(cell.strip() for cell in cells):
            rows.append((number, row))
    return header, rows


def _read_parquet(path: Path) -> _Table:
    table = pq.read_table(path)
    return table.column_names, list(enumerate(table.to_pylist(), start=_HEADER + 1))


def _text(value: object) -> str:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value).strip()

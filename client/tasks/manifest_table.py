"""The file of a manifest as rows of text, one after the other: what a cell means is not judged here."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from client.errors import ManifestError, ManifestFileError, Problem
from client.tasks.manifest_row import COLUMNS, OPTIONAL

HEADER = 1  # rows count as in a spreadsheet: the header is row 1
BEYOND = "(beyond the header)"
_KNOWN = COLUMNS + OPTIONAL
LARGEST_CELL = 1 << 24  # characters: an outline of a million points; the csv module's own limit is 131,072
_BATCH = 4096  # rows of a Parquet file that are held at once

_Raw = tuple[int, int | None, Sequence[object] | None]  # number, line, cells; None: they can't be told apart


@dataclass(frozen=True)
class Row:
    """A row that is not blank: stripped text by column. `line` is where it starts in a file of lines.

    `flaw` is what is wrong with it as a row; then its cells may stand in wrong columns. It is `lost` where nobody can
    say what it holds: a quote was opened or closed at a wrong place, and it may have swallowed others.
    """

    number: int
    line: int | None
    cells: dict[str, str]
    flaw: Problem | None = None
    lost: bool = False

    @property
    def where(self) -> str:
        """The row, and its line where that differs."""
        return self.problem("", "", "").where

    def problem(self, column: str, what: str, advice: str) -> Problem:
        """A problem of this row."""
        return Problem(self.number, column, what, advice, self.line)


def read_rows(path: Path, needed: Sequence[str] = COLUMNS) -> Iterator[Row]:
    """The rows of a CSV (.csv) or Parquet (.parquet) file, in its order, read as they are asked for.

    Raises ManifestError for a header without the columns `needed`, with unknown ones or one twice, and for a file that
    can't be read.
    """
    header, rows = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    if problems := _header_problems(header, needed):
        raise ManifestError(path.name, problems)
    for number, line, cells in rows:
        if cells is None:
            flaw = Problem(
                number, _KNOWN[0], "the row can't be read", "close each quote that a cell opens", line
            )
            yield Row(number, line, dict.fromkeys(_KNOWN, ""), flaw, lost=True)
        elif any(text := [_text(cell) for cell in cells]):
            yield _row(number, line, text, header)


def _row(number: int, line: int | None, text: Sequence[str], header: Sequence[str]) -> Row:
    by_column = dict.fromkeys(_KNOWN, "") | dict(zip(header, text, strict=False))
    row = Row(number, line, by_column)
    if len(text) > len(header):
        flaw = row.problem(BEYOND, "the row has more cells than the header", "quote cells that hold commas")
    elif not _is_utf8("".join(text)):
        odd = next(column for column, cell in by_column.items() if not _is_utf8(cell))
        flaw = row.problem(odd, "it is not UTF-8", "save the file as UTF-8")
    else:
        return row
    return Row(number, line, by_column, flaw)


def _header_problems(header: Sequence[str], needed: Sequence[str]) -> list[Problem]:
    """What is wrong with the columns. Where none is known the first row is no header, and is not quoted: it holds data."""
    if header and not set(header) & set(_KNOWN):
        return [Problem(HEADER, _KNOWN[0], "the first row names no column", f"begin with {','.join(_KNOWN)}")]
    problems = [
        Problem(HEADER, column, "the column is missing", "add it; its cells may be empty")
        for column in needed
        if column not in header
    ]
    problems += [
        Problem(HEADER, column, "unknown column", f"there are {', '.join(_KNOWN)}")
        for column in header
        if column not in _KNOWN
    ]
    problems += [
        Problem(HEADER, column, "the column stands there twice", "keep one")
        for column, times in Counter(header).items()
        if times > 1
    ]
    return problems


def _read_csv(path: Path) -> tuple[list[str], Iterator[_Raw]]:
    rows = _csv_records(path)
    header = [str(column).strip() for column in next(rows, (HEADER, HEADER, []))[2] or []]
    if not all(map(_is_utf8, header)):
        raise ManifestFileError.of(path, UnicodeError())
    return header, rows


def _csv_records(path: Path) -> Iterator[_Raw]:
    """All records, the header too. A byte that is no UTF-8 spoils its own cell only; after a wrong quote it goes on with
    the next line.
    """
    number, line = HEADER, HEADER
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            csv.field_size_limit(LARGEST_CELL)
            reader = csv.reader(file, strict=True)
            while True:
                cells: Sequence[object] | None
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error:
                    cells = None
                yield number, line, cells
                number, line = number + 1, reader.line_num + 1
    except OSError as error:
        raise ManifestFileError.of(path, error) from None


def _read_parquet(path: Path) -> tuple[list[str], Iterator[_Raw]]:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ManifestFileError.of(path, error) from None
    return list(file.schema_arrow.names), _parquet_records(path, file)


def _parquet_records(path: Path, file: pq.ParquetFile) -> Iterator[_Raw]:
    number = HEADER
    try:
        for batch in file.iter_batches(_BATCH):
            columns: Iterable[Sequence[object]] = [column.to_pylist() for column in batch.columns]
            for cells in zip(*columns, strict=True):
                number += 1
                yield number, None, cells
    except (OSError, pa.ArrowException) as error:
        raise ManifestFileError.of(path, error) from None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value).strip()


def _is_utf8(text: str) -> bool:
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return False
    return True

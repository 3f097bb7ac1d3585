"""Tables as departments have them: CSV by Excel, by a laboratory's system, or by hand."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from client.imports.found import ImportProblem, ImportSourceError

TableRow = tuple[
    str, dict[str, str]
]  # where it stands, as its reader will look for it; stripped cells by column

_DELIMITERS = ",;\t"
_LARGEST_CELL = 1 << 17  # characters: more is a quote that was left open
_AS_UTF8 = 'save it as "CSV UTF-8": Excel lists that among its kinds of file'


def read_table(path: Path, needed: Sequence[str]) -> list[TableRow]:
    """The rows of a CSV file, blank ones left out. Rows count as in a spreadsheet: the header is row 1.

    Cells stand between commas, semicolons or tabs: whichever makes the header hold what is needed. Columns without a
    name are passed over. Raises ImportSourceError for a file that is no UTF-8 (another encoding is never guessed: a
    patient's name might change) or no CSV, a column that is missing or there twice, and for cells beyond the header.
    """
    text = _text(path)
    csv.field_size_limit(_LARGEST_CELL)
    delimiter = max(_DELIMITERS, key=lambda sign: _fitness(text, sign, needed))
    records = _records(text, delimiter, path.name)
    where, header = next(records, (f"{path.name}, row 1", []))
    there = Counter(column for column in header if column)
    problems = [
        ImportProblem(where, f"the column {column!r} is missing", f"there are {', '.join(there)}")
        for column in needed
        if not there[column]
    ]
    problems += [
        ImportProblem(where, f"the column {column!r} stands there twice", "keep one")
        for column, times in there.items()
        if times > 1
    ]
    rows: list[TableRow] = []
    for where, cells in records:
        if any(cells[len(header) :]):
            advice = f"quote cells that hold {delimiter!r}"
            problems.append(ImportProblem(where, "it has more cells than the header", advice))
        elif any(cells):
            padded = [*cells, *[""] * (len(header) - len(cells))]
            rows.append(
                (where, {column: cell for column, cell in zip(header, padded, strict=False) if column})
            )
    if problems:
        raise ImportSourceError(problems)
    return rows


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = ImportProblem(path.name, f"it can't be read ({error.strerror})", "give a CSV file")
        raise ImportSourceError([problem]) from None
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ImportSourceError([ImportProblem(path.name, "it is UTF-16", _AS_UTF8)])
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = "a letter is not UTF-8: the file is Windows-1252 perhaps, as Excel writes plain CSV"
        raise ImportSourceError([ImportProblem(f"{path.name}, line {line}", what, _AS_UTF8)]) from None


def _fitness(text: str, delimiter: str, needed: Sequence[str]) -> tuple[int, int]:
    """How much of what is needed the header holds if its cells are cut there; how many cells it has."""
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return 0, 0
    return len({cell.strip() for cell in header} & set(needed)), len(header)


def _records(text: str, delimiter: str, name: str) -> Iterator[tuple[str, list[str]]]:
    """All records, the header too, with where each begins: its row, and its line where cells before hold line ends."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = line = 1
    while True:
        where = f"{name}, row {number}" + (f" (line {line})" if line != number else "")
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            what = "it can't be read: a quote is opened or closed at a wrong place"
            problem = ImportProblem(
                where, what, "close each quote that a cell opens, and double those inside"
            )
            raise ImportSourceError([problem]) from None
        yield where, [cell.strip() for cell in cells]
        number, line = number + 1, reader.line_num + 1

"""Drafts -> a manifest: what will be written is read by the manifest's own reader first."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from client.errors import ManifestError, Problem
from client.imports.found import ImportProblem, ImportSourceError
from client.imports.rows import Draft, Row
from client.slides.index import SlideIndex
from client.tasks.manifest import read_manifest
from client.tasks.manifest_row import COLUMNS, OPTIONAL
from client.tasks.manifest_table import HEADER, LARGEST_CELL
from privacy import durable

_OTHER_ROW = re.compile(r"\brow (\d+)(?: \(line \d+\))?(?= in another spelling$|$)")


@dataclass(frozen=True)
class Imported:
    """What was written, and the problems that were skipped."""

    rows: int
    patients: int
    slides: int
    tasks: dict[str, int]
    problems: tuple[ImportProblem, ...]


def write_checked(
    drafts: Sequence[Draft], problems: Sequence[ImportProblem], index: SlideIndex, out: Path, skip: bool
) -> Imported:
    """Write what the manifest's reader reads, whole or not at all, for its owner's eyes alone.

    Raises ImportSourceError with all problems, the reader's among them; with `skip` only where nothing is left, or
    nothing can be written.
    """
    faults = _faults(out)
    rows, refused = ([], []) if faults else _read_back(drafts, index, out)
    problems = [*problems, *refused]
    if not drafts:
        faults.append(
            ImportProblem("the source", "no question came of it", "see docs/howto/import-labels.md")
        )
    if faults or not rows or (problems and not skip):
        raise ImportSourceError([*problems, *faults])
    try:
        durable.replace(out, _table(rows))
    except OSError as error:
        raise ImportSourceError([_unwritable(out, error)]) from None
    distinct = {column: len({row[column] for row in rows}) for column in ("patient", "slide")}
    tasks = dict(sorted(Counter(row["task"] for row in rows).items()))
    return Imported(len(rows), distinct["patient"], distinct["slide"], tasks, tuple(problems))


def _faults(out: Path) -> list[ImportProblem]:
    """Why no manifest can be written there."""
    if out.suffix != ".csv":
        return [
            ImportProblem(str(out), "the manifest is a CSV file, and this names another", "end it in .csv")
        ]
    if out.exists():
        return [ImportProblem(str(out), "the file is there already", "name another, or delete it")]
    if not out.parent.is_dir():
        return [ImportProblem(str(out), "its folder is not there", "make it")]
    return []


def _read_back(
    drafts: Sequence[Draft], index: SlideIndex, out: Path
) -> tuple[list[Row], list[ImportProblem]]:
    """The rows that the reader reads, beside what else lies in the manifest's folder, and why it refuses the others."""
    problems = [
        ImportProblem(where, f"an answer takes more than {LARGEST_CELL} letters", "ask about smaller fields")
        for where, row in drafts
        if _is_long(row)
    ]
    fitting = [(where, row) for where, row in drafts if not _is_long(row)]
    if not fitting:
        return [], _once(problems)
    try:
        with NamedTemporaryFile(dir=out.parent, prefix=".", suffix=".csv") as file:
            file.write(_table(row for _, row in fitting))
            file.flush()
            read = read_manifest(Path(file.name), index, skip_bad_rows=True)
    except ManifestError as error:
        return [], _once([*problems, *(_told(problem, fitting) for problem in error.problems)])
    except OSError as error:
        raise ImportSourceError([_unwritable(out, error)]) from None
    problems += [_told(problem, fitting) for problem in read.problems]
    bad = {problem.row for problem in read.problems}
    sure = {(sample.patient, sample.slide) for sample in read.samples}
    kept: list[Row] = []
    for number, (where, row) in enumerate(fitting, HEADER + 1):
        if number in bad:
            continue
        if (row["patient"].strip(), row["slide"]) in sure:
            kept.append(row)
        else:
            what = f"another problem makes doubtful whose slide {row['slide']!r} is"
            problems.append(ImportProblem(where, what, "mend that one"))
    return kept, _once(problems)


def _is_long(row: Row) -> bool:
    return any(len(cell) > LARGEST_CELL for cell in row.values())


def _told(problem: Problem, drafts: Sequence[Draft]) -> ImportProblem:
    """A problem of a row as one of the source; other rows that it names are told by their places there too."""
    if problem.row == HEADER:  # not of ours, which is right
        return ImportProblem("patients.csv", f"{problem.column}: {problem.what}", problem.advice)
    what = _OTHER_ROW.sub(lambda row: drafts[int(row[1]) - HEADER - 1][0], problem.what)
    where, _ = drafts[problem.row - HEADER - 1]
    return ImportProblem(where, f"{problem.column}: {what}", problem.advice)


def _once(problems: Sequence[ImportProblem]) -> list[ImportProblem]:
    """Many rows come of one place in the source."""
    return list(dict.fromkeys(problems))


def _table(rows: Iterable[Row]) -> bytes:
    """The file; letters that UTF-8 has no bytes for (JSON knows half surrogates) are left for the reader to refuse."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS + OPTIONAL)
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue().encode(errors="surrogatepass")


def _unwritable(out: Path, error: OSError) -> ImportProblem:
    return ImportProblem(str(out), f"it can't be written ({error.strerror})", "name another place")

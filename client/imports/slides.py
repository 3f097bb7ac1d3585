"""Which slide a source means, and whose it is."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from client.errors import SlideError
from client.imports.found import ImportProblem, ImportSourceError
from client.slides.names import FileNames
from client.slides.slide import Slide


@dataclass(frozen=True)
class SlideNames:
    """The slides that can serve, and those that can't, by their path inside the slide folder."""

    slides: Mapping[str, Slide]
    skipped: Mapping[str, SlideError] = field(default_factory=dict)

    def find(self, name: str) -> Slide | str:
        """The slide of this path or file name, or of the same name with another suffix or none; else why not.

        Folders in `name` that are not the slide folder's don't count. A name that two slides bear is nobody's.
        """
        path = name.replace("\\", "/")
        name = path.rpartition("/")[2]
        found = self._names.find(path) or self._names.find(name) or self._of_stem(name)
        if not found:
            return f"there is no slide {name!r}"
        if len(found) > 1:
            return f"{name!r} may be any of {', '.join(sorted(found))}"
        if found[0] in self.skipped:
            return f"slide {found[0]!r} can't serve: {self.skipped[found[0]].what}"
        return self.slides[found[0]]

    @cached_property
    def _names(self) -> FileNames:
        return FileNames([*self.slides, *self.skipped])

    @cached_property
    def _stems(self) -> Mapping[str, tuple[str, ...]]:
        stems: dict[str, tuple[str, ...]] = {}
        for slide in (*self.slides, *self.skipped):
            stem = Path(slide).stem
            stems[stem] = (*stems.get(stem, ()), slide)
        return stems

    def _of_stem(self, name: str) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(slide for stem in (name, Path(name).stem) for slide in self._stems.get(stem, ()))
        )


class Patients:
    """Whose slide it is: by a table, or by a part of the slide's name. It is never guessed."""

    def __init__(self, table: Mapping[str, str] | None, pattern: re.Pattern[str] | None) -> None:
        self._table, self._pattern = table, pattern

    def of(self, slide: str) -> str | None:
        """The patient's key, or None where neither table nor pattern gives one."""
        if self._table is not None:
            return self._table.get(slide)
        match = self._pattern.search(slide) if self._pattern else None
        return (match[1] or None) if match else None


def patients_by_pattern(pattern: str) -> Patients:
    """The first group of a regular expression that is searched for in the slide's path inside the slide folder.

    Raises ImportSourceError for a pattern that is none or has no group.
    """
    advice = "write a regular expression with one group, such as ^([^-]+)-"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ImportSourceError([ImportProblem("the patient pattern", str(error), advice)]) from None
    if compiled.groups < 1:
        raise ImportSourceError([ImportProblem("the patient pattern", "it has no group", advice)])
    return Patients(None, compiled)


def patients_by_table(path: Path, slides: SlideNames) -> Patients:
    """A CSV with the columns slide and patient. Raises ImportSourceError with every bad row."""
    table: dict[str, str] = {}
    problems: list[ImportProblem] = []
    for number, row in read_csv(path, ("slide", "patient")):
        where = f"{path.name}, row {number}"
        found = slides.find(row["slide"])
        if not row["patient"]:
            problems.append(ImportProblem(where, "the patient is empty", "name them"))
        elif isinstance(found, Slide) and table.setdefault(found.name, row["patient"]) != row["patient"]:
            what = f"slide {found.name!r} has another patient above"
            problems.append(ImportProblem(where, what, "a slide has one patient: keep the right row"))
    if problems:
        raise ImportSourceError(problems)
    return Patients(table, None)


def read_csv(path: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Stripped rows by column with their spreadsheet row number; blank rows are left out.

    Raises ImportSourceError for a file that is no UTF-8 CSV or lacks a needed column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *records = list(csv.reader(file, strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = ImportProblem(
            path.name, f"it can't be read ({type(error).__name__})", "give a UTF-8 CSV file"
        )
        raise ImportSourceError([problem]) from None
    header = [column.strip() for column in header]
    problems = [
        ImportProblem(
            f"{path.name}, row 1", f"the column {column!r} is missing", f"there are {', '.join(header)}"
        )
        for column in needed
        if column not in header
    ]
    problems += [
        ImportProblem(
            f"{path.name}, row {number}", "it has more cells than the header", "quote cells with commas"
        )
        for number, cells in enumerate(records, 2)
        if len(cells) > len(header)
    ]
    if problems:
        raise ImportSourceError(problems)
    return [
        (number, dict.fromkeys(header, "") | {c: v.strip() for c, v in zip(header, cells, strict=False)})
        for number, cells in enumerate(records, 2)
        if any(cell.strip() for cell in cells)
    ]

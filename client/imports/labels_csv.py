"""A table of slide labels (one row a slide) -> questions about whole slides, by a mapping of its columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.imports.found import ImportProblem, ImportSourceError
from client.imports.rows import Draft
from client.imports.slides import SlideNames
from client.imports.table import TableRow
from client.imports.toml_file import ADVICE, read_toml
from client.slides.slide import Slide
from client.tasks.cells import alike
from client.tasks.manifest_row import COLUMNS, OPTIONAL
from privacy.experts import TASKS


@dataclass(frozen=True)
class Asked:
    """A question that one column answers. `values`: the table's codes -> the words of the answer (None: the
    cells are the words). `closed`: whether the answers are the only choices."""

    column: str
    question: str
    task: str
    values: Mapping[str, str] | None
    closed: bool


@dataclass(frozen=True)
class ColumnMapping:
    """Which column names the slide, which the patient, and which answer questions."""

    slide: str
    patient: str
    asked: tuple[Asked, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that the table needs."""
        return self.slide, self.patient, *(asked.column for asked in self.asked)


def read_mapping(path: Path) -> ColumnMapping:
    """Read the TOML file that maps a table's columns. Raises ImportSourceError with everything wrong."""
    document = read_toml(path)
    problems = [
        ImportProblem(f"{path.name}, {key}", "it is no column's name", ADVICE)
        for key in ("slide", "patient")
        if not isinstance(document.get(key), str)
    ]
    problems += [
        ImportProblem(f"{path.name}, {key}", "there is no such key", ADVICE)
        for key in document.keys() - {"slide", "patient", "ask"}
    ]
    tables = document.get("ask")
    if not (isinstance(tables, list) and tables and all(isinstance(table, dict) for table in tables)):
        problems.append(ImportProblem(f"{path.name}, ask", "nothing is asked", ADVICE))
        tables = []
    for number, table in enumerate(tables, 1):
        problems += [ImportProblem(f"{path.name}, ask {number}", what, ADVICE) for what in _faults(table)]
    if problems:
        raise ImportSourceError(problems)
    asked = tuple(
        Asked(
            t["column"],
            t["question"],
            t.get("task", "classification"),
            t.get("values"),
            t.get("closed", True),
        )
        for t in tables
    )
    return ColumnMapping(document["slide"], document["patient"], asked)


def label_rows(
    rows: Sequence[TableRow], mapping: ColumnMapping, slides: SlideNames
) -> tuple[list[Draft], list[ImportProblem]]:
    """The questions that the table's rows answer; an empty cell answers none. Rows that say the same of a slide are one;
    of a slide about which rows say different things nothing is asked, nor by a column of which two choices are one answer."""
    drafts: list[Draft] = []
    problems: list[ImportProblem] = []
    asked_for: list[tuple[Asked, str]] = []
    for asked in mapping.asked:
        choices = _choices(asked, rows) if asked.closed else []
        if pair := alike(choices):
            what = f"{pair[0]!r} and {pair[1]!r} are one answer, and would be two choices"
            advice = "spell them alike, or give both one word in values"
            problems.append(ImportProblem(f"column {asked.column!r}", what, advice))
        else:
            asked_for.append((asked, json.dumps(choices) if choices else ""))
    for slide, (first, *others) in _by_slide(rows, mapping, slides, problems).items():
        where, row = first
        odd = [other for other, cells in others if any(cells[c] != row[c] for c in mapping.columns[1:])]
        what = f"slide {slide!r} stands in {where} too, with other cells"
        problems += [ImportProblem(other, what, "keep one row a slide") for other in odd]
        for asked, cell in asked_for if not odd else ():
            answer = row[asked.column]
            if answer and asked.values is not None and answer not in asked.values:
                known = ", ".join(asked.values)
                what = f"column {asked.column!r} holds {answer!r}, and values knows {known}"
                problems.append(ImportProblem(where, what, "add it to values or mend the cell"))
            elif answer:
                words = answer if asked.values is None else asked.values[answer]
                drafts.append((where, _row(row[mapping.patient], slide, asked, words, cell)))
    return drafts, problems


def _by_slide(
    rows: Sequence[TableRow], mapping: ColumnMapping, slides: SlideNames, problems: list[ImportProblem]
) -> dict[str, list[TableRow]]:
    found: dict[str, list[TableRow]] = {}
    for where, row in rows:
        slide = slides.find(row[mapping.slide])
        if not isinstance(slide, Slide):
            problems.append(ImportProblem(where, slide, "mend the name, or leave the row out"))
        elif not row[mapping.patient]:
            problems.append(ImportProblem(where, "the patient is empty", "name them"))
        else:
            found.setdefault(slide.name, []).append((where, row))
    return found


def _faults(table: Mapping[str, Any]) -> list[str]:
    known = ("column", "question", "task", "values", "closed")
    faults = [f"there is no {key!r}; there are {', '.join(known)}" for key in table if key not in known]
    faults += [
        f"{key} is not given" for key in known[:2] if not (isinstance(table.get(key), str) and table[key])
    ]
    possible = [task for task, scales in TASKS.items() if "wsi" in scales]
    if table.get("task", "classification") not in possible:
        faults.append(f"task is none of {', '.join(possible)}")
    values = table.get("values", {})
    if not (
        isinstance(values, dict) and all(isinstance(word, str) and word.strip() for word in values.values())
    ):
        faults.append("values is no table of words")
    if not isinstance(table.get("closed", True), bool):
        faults.append("closed is neither true nor false")
    return faults


def _choices(asked: Asked, rows: Sequence[TableRow]) -> list[str]:
    """The mapping's words, or the column's distinct cells, sorted."""
    words = (
        asked.values.values() if asked.values is not None else sorted({row[asked.column] for _, row in rows})
    )
    return list(dict.fromkeys(" ".join(word.split()) for word in words if word))


def _row(patient: str, slide: str, asked: Asked, words: str, choices: str) -> Mapping[str, str]:
    cells = {"patient": patient, "slide": slide, "task": asked.task, "question": asked.question}
    return dict.fromkeys(COLUMNS + OPTIONAL, "") | cells | {"answer": words, "choices": choices}

"""Tables as Excel and laboratories' systems write them: read as meant, or refused with the cure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from client.imports.found import ImportSourceError
from client.imports.labels_csv import Asked, ColumnMapping, label_rows
from client.imports.slides import SlideNames
from client.imports.table import TableRow, read_table
from client.slides.index import SlideIndex
from client.slides.slide import Slide
from client.tasks.manifest_row import read_row

NEEDED = ("File", "Case", "Note")
MAPPING = ColumnMapping("File", "Case", (Asked("Note", "What is it?", "classification", None, True),))
SLIDES = SlideNames(SlideIndex({n: Slide(n, Path(n), 0.5, 200, 100, (1.0,)) for n in ("a.svs", "b.svs")}))


def table(folder: Path, text: str | bytes) -> list[TableRow]:
    path = folder / "lis.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, NEEDED)


@dataclass(frozen=True)
class Written:
    """A file, and the cells File, Case and Note of its only row."""

    text: str | bytes
    cells: tuple[str, str, str] = ("a.svs", "anna", "adenoma")


READ = {
    "commas": Written("File,Case,Note\na.svs,anna,adenoma\n"),
    "semicolons, as Excel writes where a comma is the decimal sign": Written("File;Case;Note\r\na.svs;anna;adenoma\r\n"),
    "semicolons, and commas in cells": Written(
        "File;Case;Note\na.svs;anna;low, focal, 1,5 mm\n", ("a.svs", "anna", "low, focal, 1,5 mm")
    ),
    "commas, and semicolons in the header": Written('File,"Size; cm",Case,Note\na.svs,3;4,anna,adenoma\n'),
    "tabs": Written("File\tCase\tNote\na.svs\tanna\tadenoma\n"),
    "a byte order mark": Written("\ufeffFile;Case;Note\na.svs;anna;Müller\n", ("a.svs", "anna", "Müller")),
    "delimiters at the end of each line": Written("File;Case;Note;;\na.svs;anna;adenoma;;\n"),
    "delimiters at the end of rows alone": Written("File,Case,Note\na.svs,anna,adenoma,,\n"),
    "rows that end early": Written("File,Case,Note,Grade,Size\na.svs,anna,adenoma\n"),
    "line ends in cells": Written(
        'File,Case,Note\r\na.svs,anna,"two\r\nlines, ""quoted"""\r\n', ("a.svs", "anna", 'two\r\nlines, "quoted"')
    ),
    "blank rows": Written("File,Case,Note\n\n,,\na.svs,anna,adenoma\n\n"),
    "spaces around": Written(" File , Case,Note \n a.svs ,anna , adenoma\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_table_is_read_as_it_is_meant(name: str, tmp_path: Path) -> None:
    """Catches files of real systems that are refused, or cut at the wrong sign."""
    case = READ[name]
    ((_, row),) = table(tmp_path, case.text)
    assert tuple(row[column] for column in NEEDED) == case.cells


REFUSED: dict[str, tuple[str | bytes, str, str]] = {
    "a column twice": ("File,Case,Note,Note\na.svs,anna,x,y\n", "row 1", "'Note' stands there twice"),
    "a column twice that nobody asked for": ("File,Case,Note,Id,Id\na.svs,anna,x,1,2\n", "row 1", "'Id'"),
    "no such column": ("File,Case\na.svs,anna\n", "row 1", "'Note' is missing"),
    "nothing": ("", "row 1", "'File' is missing"),
    "Windows-1252": (
        "File;Case;Note\na.svs;anna;ok\nb.svs;Müller;ok\n".encode("cp1252"), "line 3", 'save it as "CSV UTF-8"'
    ),
    "UTF-16": ("File,Case,Note\n".encode("utf-16"), "lis.csv", "UTF-16"),
    "too many cells": ("File;Case;Note\na.svs;anna;x;y\n", "row 2", "quote cells that hold ';'"),
    "a quote left open": ('File,Case,Note\na.svs,anna,"x\n', "row 2", "quote"),
    "too long a header": ("F" * 200_000, "row 1", "quote"),
    "where line ends lie in cells": ('File,Case,Note\na.svs,anna,"x\ny"\nb.svs,b,x,y\n', "row 3 (line 4)", "more cells"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_says_where_and_what_to_do(name: str, tmp_path: Path) -> None:
    """Catches the last of two columns taken in silence, letters of a patient's name guessed, and a message of no use."""
    text, where, words = REFUSED[name]
    with pytest.raises(ImportSourceError) as caught:
        table(tmp_path, text)
    (problem,) = [p for p in caught.value.problems if where in p.where and words in f"{p.what}; {p.advice}"]
    assert problem.where.startswith("lis.csv")
    assert "Müller" not in str(caught.value)


def test_rows_that_say_the_same_of_a_slide_are_one(tmp_path: Path) -> None:
    """Catches a report's second line that is refused, or asked a second time."""
    rows = table(tmp_path, "File,Case,Note,Block\na.svs,anna,x,1\nb,bert,y,1\na,anna,x,2\n")
    drafts, problems = label_rows(rows, MAPPING, SLIDES)
    assert problems == []
    samples = [read_row(row, SLIDES.slides[row["slide"]]) for _, row in drafts]
    assert [(sample.slide, sample.patient) for sample in samples] == [("a.svs", "anna"), ("b.svs", "bert")]


@pytest.mark.parametrize("other", ["a.svs,anna,y", "a.svs,bert,x", "a,anna,"])
def test_of_a_slide_about_which_rows_differ_nothing_is_asked(other: str, tmp_path: Path) -> None:
    """Catches the first of two diagnoses, or of two patients, that is taken because it stands first."""
    rows = table(tmp_path, f"File,Case,Note\na.svs,anna,x\nb.svs,bert,y\n{other}\n")
    drafts, (problem,) = label_rows(rows, MAPPING, SLIDES)
    assert [row["slide"] for _, row in drafts] == ["b.svs"]
    assert problem.where == "lis.csv, row 4"
    assert "row 2" in problem.what

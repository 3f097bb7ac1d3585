"""What an import writes is what the manifest's own reader reads: whatever it would refuse is a problem of the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.imports.found import ImportSourceError
from client.imports.manifest_file import write_checked
from client.slides.index import SlideIndex
from client.slides.slide import Slide
from client.tasks.manifest import read_manifest
from client.tasks.manifest_row import COLUMNS, OPTIONAL
from client.tasks.manifest_table import LARGEST_CELL

SLIDES = {
    name: Slide(name, Path(name), 0.5, 200, 100, (1.0,)) for name in ("a.svs", "b.svs", "c.svs", "copy.svs")
}
INDEX = SlideIndex(SLIDES, copies={"copy.svs": "a.svs"})


def draft(number: int, patient: str, slide: str, question: str = "Which?") -> tuple[str, Mapping[str, str]]:
    cells = {
        "patient": patient,
        "slide": slide,
        "task": "classification",
        "question": question,
        "answer": "fat",
    }
    return f"lis.csv, row {number}", dict.fromkeys(COLUMNS + OPTIONAL, "") | cells


@dataclass(frozen=True)
class Case:
    """Patient and slide of each row from 12 on; where problems are told, words of the first, and whose rows are left."""

    rows: tuple[tuple[str, str], ...]
    where: tuple[int, ...]
    words: str
    left: tuple[str, ...]


CASES = {
    "two spellings": Case(
        (("pat-1", "a.svs"), ("PAT-1", "b.svs"), ("pat-2", "c.svs")), (13, 12), "of lis.csv, row 12 in another", ("pat-2",)
    ),
    "two patients of a slide": Case(
        (("anna", "a.svs"), ("bert", "a.svs"), ("carl", "c.svs")), (13, 12), "patient in lis.csv, row 12", ("carl",)
    ),
    "two patients of one content": Case(
        (("anna", "a.svs"), ("carl", "c.svs"), ("bert", "copy.svs")), (14, 12), "patient in lis.csv, row 12", ("carl",)
    ),
    "half a surrogate": Case((("anna", "a.svs"), ("b\ud800", "b.svs")), (13,), "UTF-8", ("anna",)),
    "no patient": Case((("anna", "a.svs"), ("\u00a0", "b.svs")), (13,), "empty", ("anna",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_the_reader_refuses_is_a_problem_of_the_source(name: str, tmp_path: Path) -> None:
    """Catches a manifest that is written and can't be used; one person written as two; a place in a file that nobody
    has; and a half of a contradiction that is kept because it stands first."""
    case, out = CASES[name], tmp_path / "manifest.csv"
    drafts = [draft(number, *row) for number, row in enumerate(case.rows, 12)]
    with pytest.raises(ImportSourceError) as caught:
        write_checked(drafts, [], INDEX, out, skip=False)
    assert [problem.where for problem in caught.value.problems] == [f"lis.csv, row {n}" for n in case.where]
    assert case.words in caught.value.problems[0].what
    assert not any(patient.strip() and patient in str(caught.value) for patient, _ in case.rows)
    assert list(tmp_path.iterdir()) == []
    done = write_checked(drafts, [], INDEX, out, skip=True)
    assert done.problems == caught.value.problems
    assert tuple(sample.patient for sample in read_manifest(out, INDEX).samples) == case.left
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]


def test_patients_that_are_not_listed_beside_it_are_told(tmp_path: Path) -> None:
    """Catches a misspelt key that becomes a person, where the hospital lists its patients."""
    (tmp_path / "patients.csv").write_text("patient\nanna\n")
    drafts = [draft(2, "anna", "a.svs"), draft(3, "ana", "b.svs")]
    with pytest.raises(ImportSourceError, match=r"row 3: patient: unknown patient.*patients\.csv"):
        write_checked(drafts, [], INDEX, tmp_path / "manifest.csv", skip=False)
    (tmp_path / "patients.csv").write_text("person\nanna\n")
    with pytest.raises(ImportSourceError, match=r"patients\.csv: patient: the column is missing"):
        write_checked(drafts, [], INDEX, tmp_path / "manifest.csv", skip=True)


def test_an_answer_longer_than_a_cell_is_left_out_alone(tmp_path: Path) -> None:
    """Catches thousands of outlines in one cell, which no reader of CSV reads, and which would take all rows with them."""
    drafts = [draft(2, "anna", "a.svs"), draft(3, "bert", "b.svs", "?" * (LARGEST_CELL + 1))]
    done = write_checked(drafts, [], INDEX, tmp_path / "manifest.csv", skip=True)
    assert (done.rows, [problem.where for problem in done.problems]) == (1, ["lis.csv, row 3"])
    assert len(read_manifest(tmp_path / "manifest.csv", INDEX).samples) == 1


def test_many_rows_of_one_place_are_told_once(tmp_path: Path) -> None:
    """Catches the same line told for each question about a field."""
    same = [(where, row | {"answer": "?"}) for where, row in [draft(2, "anna", "a.svs")] * 9]
    with pytest.raises(ImportSourceError) as caught:
        write_checked(same, [], INDEX, tmp_path / "manifest.csv", skip=False)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [("m.parquet", "end it in .csv"), ("there.csv", "there already"), ("no/m.csv", "not there")],
)
def test_a_place_that_takes_no_manifest_is_told(name: str, words: str, tmp_path: Path) -> None:
    """Catches rows of text under a name that makes the reader look for Parquet, and a manifest that is overwritten."""
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(ImportSourceError, match=words):
        write_checked([draft(2, "anna", "a.svs")], [], INDEX, tmp_path / name, skip=True)
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"

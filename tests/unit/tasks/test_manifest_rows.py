"""Bad rows: all are told at once, by row and line; good ones are used where the policy says so, and nobody is guessed."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.errors import EmptySlideError, ManifestError, ManifestFileError
from client.slides.index import SlideIndex
from client.slides.slide import Slide
from client.tasks.manifest import Manifest, read_manifest, slide_patients

COLUMNS = [
    "patient",
    "slide",
    "x",
    "y",
    "width",
    "height",
    "task",
    "question",
    "answer",
    "boxes",
    "polygons",
    "choices",
]
NAMES = ("1/a.svs", "1/b.svs", "2/a.svs", "c.svs", "d.svs", "né.svs")


def slides(*names: str) -> dict[str, Slide]:
    return {name: Slide(name, Path(name), 0.5, 2000, 1000, (1.0,)) for name in names}


INDEX = SlideIndex(slides(*NAMES), {"bad.svs": EmptySlideError("bad.svs")})


def row(patient: str, slide: str, **cells: str) -> dict[str, str]:
    asked = {"task": "vqa", "question": "Is there fat?", "answer": "yes"}
    return dict.fromkeys(COLUMNS, "") | {"patient": patient, "slide": slide} | asked | cells


def write(folder: Path, *rows: dict[str, str]) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def who(manifest: Manifest) -> list[tuple[str, str]]:
    return [(sample.patient, sample.slide) for sample in manifest.samples]


def refused(path: Path, index: SlideIndex = INDEX, skip_bad_rows: bool = False) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, index, skip_bad_rows)
    return [f"{problem.where}, {problem.column}" for problem in caught.value.problems]


def test_a_hundred_thousand_rows_with_one_per_cent_of_bad_ones(tmp_path: Path) -> None:
    """Catches a reader that stops at the first, loses count, or takes good rows along where it may use them."""
    bad = ({"task": "grade"}, {"question": ""}, {"x": "left"}, {"answer": "..."})
    rows = [
        row(f"p{number % 5}", NAMES[number % 5], **(bad[number // 100 % 4] if number % 100 == 7 else {}))
        for number in range(100_000)
    ]
    path = write(tmp_path, *rows)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, INDEX)
    problems = caught.value.problems
    assert [problem.row for problem in problems] == [number + 2 for number in range(7, 100_000, 100)]
    assert len(str(caught.value).splitlines()) == 2 + 4, "one line for each kind"
    manifest = read_manifest(path, INDEX, skip_bad_rows=True)
    assert manifest.problems == problems
    assert (len(manifest.samples), manifest.left_out) == (99_000, 1000)


def test_row_and_line_are_both_told_where_they_differ(tmp_path: Path) -> None:
    """Catches a line number that leads an editor, or a row number that leads a spreadsheet, to the wrong place."""
    path = write(
        tmp_path,
        row("p", "c.svs", task="?"),
        row("p", "c.svs", question="a\nb\nc"),
        row("p", "c.svs", task="?"),
    )
    assert refused(path) == ["row 2, task", "row 4 (line 6), task"]
    path.write_text(
        path.read_text().replace("\r\n", "\n") + "\n\n" + ",".join(row("p", "e.svs").values()) + "\n"
    )
    assert refused(path) == ["row 2, task", "row 4 (line 6), task", "row 7 (line 9), slide"]


def test_a_byte_that_is_no_utf_8_spoils_its_own_row(tmp_path: Path) -> None:
    """Catches a file of a hundred thousand rows that is refused for one letter, with no word where it stands."""
    path = write(
        tmp_path,
        row("p", "c.svs"),
        row("p", "c.svs", answer="MARK"),
        row("MARK", "1/a.svs"),
        row("q", "1/a.svs"),
    )
    path.write_bytes(path.read_bytes().replace(b"MARK", b"M\xfcller"))
    assert refused(path) == ["row 3, answer", "row 4, patient"]
    assert who(read_manifest(path, INDEX, True)) == [("p", "c.svs")], (
        "of slide 1/a nobody can say whose it is"
    )


def test_a_row_whose_quotes_are_wrong_is_told_with_all_others_and_never_left_out(tmp_path: Path) -> None:
    """Catches rows that a quote swallows: what they said of patients is not known, so nothing can be used."""
    path = write(tmp_path, *(row("p", "c.svs", question=f"q{number}") for number in range(6)))
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace("q1", '"q1" or')
    lines[4] = lines[4].replace("vqa", "?")
    lines[6] = lines[6].replace("q5", '"q5')
    path.write_text("\n".join(lines) + "\n")
    told = ["row 3, patient", "row 5, task", "row 7, patient"]
    assert refused(path) == told
    assert refused(path, skip_bad_rows=True) == told


@dataclass(frozen=True)
class Case:
    """Rows (patient, slide), the rows that are told, and whose rows on which slides are used without them."""

    rows: tuple[tuple[str, str], ...]
    told: tuple[str, ...]
    used: tuple[tuple[str, str], ...] = (("good", "d.svs"),)
    listed: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()


CASES = {
    "a slide of two patients": Case(
        (("p", "c.svs"), ("p", "1/a.svs"), ("q", "c.svs"), ("q", "1/b.svs")), ("row 4, patient",)
    ),
    "a slide of two patients, by two spellings of its name": Case(
        (("p", "né.svs"), ("q", "ne\u0301.svs")), ("row 3, patient",)
    ),
    "a patient in two spellings": Case((("p 1", "c.svs"), ("P1", "1/a.svs")), ("row 3, patient",)),
    "one of them on a bad slide": Case((("p 1", "c.svs"), ("P1", "bad.svs")), ("row 3, patient",)),
    "one of them on no slide at all": Case(
        (("p 1", "c.svs"), ("P1", "none.svs")), ("row 3, patient",)
    ),
    "a patient who is not listed": Case(
        (("p", "c.svs"), ("x", "1/a.svs"), ("x", "2/a.svs")),
        ("row 3, patient", "row 4, patient"),
        (("p", "c.svs"), ("good", "d.svs")),
        listed=("p", "good"),
    ),
    "one who is not listed, on another's slide": Case(
        (("p", "c.svs"), ("x", "c.svs"), ("p", "1/a.svs")), ("row 3, patient",), listed=("p", "good")
    ),
    "two patients of one content": Case(
        (("p", "1/a.svs"), ("q", "2/a.svs"), ("q", "c.svs")),
        ("row 3, patient",),
        copies=(("2/a.svs", "1/a.svs"),),
    ),
    "one patient of one content": Case(
        (("p", "1/a.svs"), ("p", "2/a.svs")),
        (),
        (("p", "1/a.svs"), ("p", "2/a.svs"), ("good", "d.svs")),
        copies=(("2/a.svs", "1/a.svs"),),
    ),
    "a slide that is not there": Case(
        (("p", "none.svs"), ("p", "c.svs")), ("row 2, slide",), (("p", "c.svs"), ("good", "d.svs"))
    ),
    "a name that two slides bear": Case(
        (("p", "a.svs"), ("p", "b.svs")), ("row 2, slide",), (("p", "1/b.svs"), ("good", "d.svs"))
    ),
    "nobody's row": Case((("", "c.svs"), ("p", "c.svs")), ("row 2, patient",), (("p", "c.svs"), ("good", "d.svs"))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_contradictions_about_patients_are_told_and_never_resolved_by_guessing(
    tmp_path: Path, name: str
) -> None:
    """Catches one person counted as two, who moves each sum by twice the clip norm: the first row's word taken for
    true, or a suspect patient's other rows used.
    """
    case = CASES[name]
    index = SlideIndex(INDEX.slides, INDEX.skipped, copies=dict(case.copies))
    path = write(tmp_path, *(row(*pair) for pair in case.rows), row("good", "d.svs"))
    if case.listed:
        (tmp_path / "patients.csv").write_text("\n".join(("patient", *case.listed)))
    if case.told:
        assert refused(path, index) == list(case.told)
    manifest = read_manifest(path, index, skip_bad_rows=True)
    assert who(manifest) == list(case.used)
    skipped = sum(manifest.skipped_rows.values())
    assert manifest.left_out == len(case.rows) + 1 - len(case.used) - skipped


def test_a_manifest_of_which_nothing_would_be_left_is_refused(tmp_path: Path) -> None:
    """Catches a hospital that takes part with nothing because every row has the same slip."""
    assert refused(write(tmp_path, row("p", "none.svs")), skip_bad_rows=True) == ["row 2, slide"]
    assert refused(write(tmp_path), skip_bad_rows=True) == ["row 1, patient"]
    assert refused(write(tmp_path, row("p", "c.svs"), row("q", "c.svs")), skip_bad_rows=True) == [
        "row 3, patient"
    ]


def test_a_further_file_of_a_slide_means_the_slide(tmp_path: Path) -> None:
    """Catches two names of one DICOM slide that make it two slides, and so perhaps two patients'."""
    index = SlideIndex(slides("x/1.dcm"), parts={"x/2.dcm": "x/1.dcm"})
    rows = row("p", "x/2.dcm"), row("p", "x/1.dcm")
    assert who(read_manifest(write(tmp_path, *rows), index)) == [("p", "x/1.dcm")] * 2
    assert refused(write(tmp_path, *rows, row("q", "2.dcm")), index) == ["row 4, patient"]


def test_parquet_rows_are_judged_alike(tmp_path: Path) -> None:
    """Catches a second reader with rules of its own; numbers and missing cells besides."""
    rows = [row("p", "c.svs"), row("q", "c.svs"), row("r", "d.svs", task="?"), row("s", "1/a.svs")]
    path = tmp_path / "manifest.parquet"
    empty = dict.fromkeys(COLUMNS)
    pq.write_table(pa.Table.from_pylist([*rows[:2], empty, *rows[2:]]), path)
    assert refused(path) == ["row 3, patient", "row 5, task"]
    manifest = read_manifest(path, INDEX, True)
    assert (who(manifest), manifest.left_out) == ([("s", "1/a.svs")], 3)


def test_whose_slides_are_is_told_of_a_manifest_that_is_not_ready_yet(tmp_path: Path) -> None:
    """Catches an index that needs a faultless manifest, or that takes sides in a contradiction."""
    path = write(
        tmp_path,
        row("p", "c.svs", task="?"),
        row("p", "b.svs"),
        row("q", "d.svs"),
        row("r", "d.svs"),
        row("s", "bad.svs"),
    )
    whose = {"c.svs": "p", "1/b.svs": "p", "d.svs": None, "bad.svs": "s"}
    assert slide_patients(path, INDEX) == whose
    assert slide_patients(path, SlideIndex(INDEX.slides, INDEX.skipped, copies={"1/b.svs": "c.svs"})) == whose
    path.write_text("slide,patient\nc.svs,p\n")
    assert slide_patients(path, INDEX) == {"c.svs": "p"}
    path.write_text("slide\nc.svs\n")
    with pytest.raises(ManifestError, match="column patient"):
        slide_patients(path, INDEX)


def test_a_file_without_a_header_or_without_a_file_is_told_and_not_quoted(tmp_path: Path) -> None:
    """Catches a first row of data, patient and all, that becomes names of columns in a log."""
    path = write(tmp_path, row("DOE^JANE", "c.svs"))
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    with pytest.raises(ManifestError, match="begin with patient,slide") as caught:
        read_manifest(path, INDEX)
    assert "DOE" not in str(caught.value) + str(caught.value.problems)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_that_can_not_be_read_is_told_by_its_path(tmp_path: Path, suffix: str) -> None:
    """Catches a missing file that is told as a fault of row 1, and an exception's name given as advice."""
    path = (tmp_path / "labels").with_suffix(suffix)
    beside = write(tmp_path, row("p", "c.svs"))
    with pytest.raises(ManifestFileError, match=f"^{path}: there is no such file; ") as caught:
        read_manifest(path, INDEX)
    assert not caught.value.problems
    path.mkdir()
    with pytest.raises(ManifestFileError, match=f"^{path}: it is a folder; "):
        read_manifest(path, INDEX)
    path.rmdir()
    path.write_bytes("patient,slide".encode("utf-16"))
    what = {".csv": "it is not UTF-8", ".parquet": "it is no Parquet file, or a damaged one"}[suffix]
    with pytest.raises(ManifestFileError, match=f"^{path}: {what}; "):
        read_manifest(path, INDEX)
    (tmp_path / "patients.csv").write_bytes("patient\nä\n".encode("latin-1"))
    with pytest.raises(ManifestFileError, match=r"patients\.csv: it is not UTF-8; save it as UTF-8"):
        read_manifest(beside, INDEX)


def test_an_outline_of_many_points_is_read(tmp_path: Path) -> None:
    """Catches the csv module's own limit of a cell, which takes the rows after it along."""
    turns = np.linspace(0, 2 * np.pi, 9000, endpoint=False)
    line = np.stack([1000 + 400 * np.cos(turns), 500 + 400 * np.sin(turns)], axis=1).round(2)
    asked = {"x": "500", "y": "0", "width": "1000", "height": "1000", "task": "segmentation", "answer": ""}
    outlined = row("p1", "1/a.svs", **asked, polygons=json.dumps([line.tolist()]))
    assert len(outlined["polygons"]) > 131_072
    assert who(read_manifest(write(tmp_path, outlined, row("p2", "c.svs")), INDEX)) == [
        ("p1", "1/a.svs"),
        ("p2", "c.svs"),
    ]

"""Manifests: what is read, and every kind of bad row, named by row and column."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.errors import EmptySlideError, ManifestError
from client.slides.index import SlideIndex
from client.slides.slide import Slide
from client.tasks.manifest import Manifest, read_manifest
from client.tasks.sample import Box, Boxes, Label, Polygon, Polygons, Region, Sample, Text

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
SLIDES = SlideIndex({name: Slide(name, Path(name), 0.5, 2000, 1000, (1.0,)) for name in ("n1.svs", "n2.svs")})
ROI = {"x": "100", "y": "200", "width": "400", "height": "200"}
CLASSIFY = {
    "patient": "p1", "slide": "n1.svs", **ROI, "task": "classification", "question": "Which tissue?",
    "answer": "fat", "choices": '["fat", "stroma"]',
}  # fmt: skip
DETECT = {
    "patient": "p1", "slide": "n1.svs", **ROI, "task": "detection", "question": "Where are glands?",
    "boxes": "[[100, 200, 300, 300], [450, 350, 500, 400]]",
}  # fmt: skip
SEGMENT = {
    "patient": "p1", "slide": "n1.svs", **ROI, "task": "segmentation", "question": "Outline the tumour.",
    "polygons": "[[[100, 200], [300, 200], [300, 300]]]",
}  # fmt: skip
ASK = {"patient": "p2", "slide": "n2.svs", "task": "vqa", "question": "Is there fat?", "answer": "yes"}
GOOD = [CLASSIFY, DETECT, SEGMENT, ASK]

EXPECTED = (
    Sample("p1", "n1.svs", Region(100, 200, 400, 200), "classification", "Which tissue?",
           Label("fat"), ("fat", "stroma")),
    Sample("p1", "n1.svs", Region(100, 200, 400, 200), "detection", "Where are glands?",
           Boxes((Box(0, 0, 500, 500), Box(875, 750, 1000, 1000)))),
    Sample("p1", "n1.svs", Region(100, 200, 400, 200), "segmentation", "Outline the tumour.",
           Polygons((Polygon(((0, 0), (500, 0), (500, 500))),))),
    Sample("p2", "n2.svs", None, "vqa", "Is there fat?", Text("yes")),
)  # fmt: skip


def write(folder: Path, rows: list[dict[str, str]], columns: list[str] = COLUMNS) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def problems(path: Path) -> list[tuple[int, str]]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, SLIDES)
    for problem in caught.value.problems:
        assert problem.advice
    return [(problem.row, problem.column) for problem in caught.value.problems]


def test_a_csv_manifest_becomes_samples(tmp_path: Path) -> None:
    """Would catch a lost row, another order, and boxes in the wrong frame (the region is 2 : 1)."""
    assert read_manifest(write(tmp_path, GOOD), SLIDES) == Manifest(EXPECTED, {})


def test_a_parquet_manifest_becomes_the_same_samples(tmp_path: Path) -> None:
    """Would catch numbers, missing cells and NaN of Parquet read otherwise than the text of CSV."""
    rows = [{column: row.get(column) for column in COLUMNS} for row in GOOD]
    for row in rows:
        for column in ("x", "y", "width", "height"):
            row[column] = float(row[column]) if row[column] else float("nan")  # as pandas writes them
    path = tmp_path / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert read_manifest(path, SLIDES) == Manifest(EXPECTED, {})


def test_choices_may_be_absent_and_other_columns_may_not(tmp_path: Path) -> None:
    """Would catch a required column that is silently taken for empty."""
    assert len(read_manifest(write(tmp_path, [ASK], COLUMNS[:-1]), SLIDES).samples) == 1
    assert problems(write(tmp_path, [ASK], [c for c in COLUMNS if c not in ("polygons", "boxes")])) == [
        (1, "boxes"),
        (1, "polygons"),
    ]


BAD: dict[str, tuple[dict[str, str], str]] = {
    "no patient": ({"patient": " "}, "patient"),
    "no slide": ({"slide": ""}, "slide"),
    "unknown slide": ({"slide": "n9.svs"}, "slide"),
    "unknown task": ({"task": "grading"}, "task"),
    "no task": ({"task": ""}, "task"),
    "no question": ({"question": ""}, "question"),
    "no answer": ({"answer": ""}, "answer"),
    "answer without words": ({"answer": "..."}, "answer"),
    "part of a region": ({"width": ""}, "width"),
    "not a number": ({"x": "left"}, "x"),
    "half a pixel": ({"y": "0.5"}, "y"),
    "infinite": ({"y": "inf"}, "y"),
    "negative": ({"x": "-1"}, "x"),
    "beyond the slide": ({"y": "1000"}, "y"),
    "region too wide": ({"width": "1901"}, "width"),
    "region too high": ({"height": "801"}, "height"),
    "no width": ({"width": "0"}, "width"),
    "boxes for a label": ({"boxes": "[[100,200,300,300]]"}, "boxes"),
    "polygons for a label": ({"polygons": "[]"}, "polygons"),
    "answer not among choices": ({"choices": '["stroma"]'}, "choices"),
    "choices not JSON": ({"choices": "fat, stroma"}, "choices"),
    "choices not text": ({"choices": "[1, 2]"}, "choices"),
    "a choice twice": ({"choices": '["fat", "stroma", "stroma"]'}, "choices"),
    "a choice in two spellings": ({"choices": '["fat", "tumor", "Tumour"]'}, "choices"),
    "a choice in other words": ({"choices": '["fat", "lymphocytes", "lymphoid tissue"]'}, "choices"),
}
BAD_BOXES: dict[str, tuple[dict[str, str], str]] = {
    "no boxes": ({"boxes": ""}, "boxes"),
    "not JSON": ({"boxes": "100,200,300,300"}, "boxes"),
    "an object": ({"boxes": '{"x": 1}'}, "boxes"),
    "a bare box": ({"boxes": "[100,200,300,300]"}, "boxes"),
    "three numbers": ({"boxes": "[[100,200,300]]"}, "boxes"),
    "words": ({"boxes": '[["a","b","c","d"]]'}, "boxes"),
    "not a number": ({"boxes": "[[100,200,300,NaN]]"}, "boxes"),
    "too many digits": ({"boxes": f"[[100,200,300,{10**400}]]"}, "boxes"),
    "truth values": ({"boxes": "[[false,false,true,true]]"}, "boxes"),
    "inverted": ({"boxes": "[[300,300,100,200]]"}, "boxes"),
    "outside its slide": ({"boxes": "[[100,200,2001,300]]"}, "boxes"),
    "negative": ({"boxes": "[[-1,200,300,300]]"}, "boxes"),
    "outside its region": ({"boxes": "[[600,500,700,600]]"}, "boxes"),
    "text beside boxes": ({"answer": "two glands"}, "answer"),
    "of a whole slide": ({"x": "", "y": "", "width": "", "height": ""}, "task"),
}
BAD_POLYGONS: dict[str, tuple[dict[str, str], str]] = {
    "no polygons": ({"polygons": ""}, "polygons"),
    "two points": ({"polygons": "[[[100,200],[300,200]]]"}, "polygons"),
    "flat numbers": ({"polygons": "[[100,200,300,200,300,300]]"}, "polygons"),
    "outside its slide": ({"polygons": "[[[100,200],[300,200],[300,1001]]]"}, "polygons"),
    "outside its region": ({"polygons": "[[[0,0],[50,0],[50,50]]]"}, "polygons"),
    "a line": ({"polygons": "[[[100,250],[300,250],[200,250]]]"}, "polygons"),
}
CASES = [
    pytest.param(good, change, column, id=f"{good['task']}: {name}")
    for good, table in ((CLASSIFY, BAD), (DETECT, BAD_BOXES), (SEGMENT, BAD_POLYGONS))
    for name, (change, column) in table.items()
]


@pytest.mark.parametrize(("good", "change", "column"), CASES)
def test_a_bad_cell_is_named_by_row_and_column(
    tmp_path: Path, good: dict[str, str], change: dict[str, str], column: str
) -> None:
    """Would catch a bad row that is read, dropped in silence, or blamed on another cell. The bad row is row
    4."""
    assert problems(write(tmp_path, [ASK, good, {**good, **change}, ASK])) == [(4, column)]


def test_all_problems_are_kept_and_the_message_sums_them_up_without_quoting_a_cell(tmp_path: Path) -> None:
    """Would catch a reader that stops at the first problem, a message of a thousand lines, and one that carries
    patients, names of files or words of answers into a log.
    """
    rows = [{**ASK, "task": f"t{i}"} for i in range(25)]
    rows += [{**ASK, "patient": " "}, {**ASK, "slide": "DOE-JANE.svs"}, {**ASK, "patient": "DOE^JANE"}]
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(tmp_path, rows), SLIDES)
    assert len(caught.value.problems) == 28
    message = str(caught.value)
    assert "manifest.csv: nothing was read, 28 problem(s) in 28 row(s)" in message
    assert "column task: 25 (row 2, 3, 4, 5, 6, ...): write one of classification, detection" in message
    assert "column slide: 1 (row 28)" in message
    assert "column patient: 1 (row 29): a slide has one patient" in message
    assert not any(word in message for word in ("t19", "DOE"))
    assert not any("DOE^JANE" in str(problem) for problem in caught.value.problems)


def test_blank_rows_and_line_breaks_in_cells_do_not_shift_the_row_number(tmp_path: Path) -> None:
    """Would catch row numbers that lead the reader to the wrong row of a spreadsheet."""
    path = write(tmp_path, [{**ASK, "question": "Is there\nfat?"}, ASK])
    text = path.read_text()
    path.write_text(text + "\n" + ",,,,,,,,,,,\n" + "p9,gone.svs" + "," * 10 + "\n")
    assert problems(path) == [(6, "slide")]


def test_a_slide_of_two_patients_is_refused(tmp_path: Path) -> None:
    """Would catch one person counted as two, which halves the privacy that the ledger states."""
    assert problems(write(tmp_path, [ASK, {**ASK, "patient": "p3"}])) == [(3, "patient")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("p-7", "P-7"),
        ("M\u00fcller-7", "Mu\u0308ller-7"),
        ("p 7", "p7"),
        ("p-7", "p\u20117"),
        ("p7", "p\u200b7"),
        ("p7", "\uff507"),
    ],
    ids=["case", "composed", "space", "hyphen", "zero width", "full width"],
)
def test_two_spellings_of_one_patient_are_refused(tmp_path: Path, first: str, second: str) -> None:
    """Would catch one person counted as two, who moves each sum by twice the clip norm."""
    rows = [{**CLASSIFY, "patient": first}, {**ASK, "patient": second}]
    assert problems(write(tmp_path, rows)) == [(3, "patient")]
    assert len(read_manifest(write(tmp_path, [rows[0], ASK]), SLIDES).samples) == 2


def test_a_patient_that_is_not_listed_is_unknown(tmp_path: Path) -> None:
    """Would catch a misspelt patient taken for another person. Without patients.csv any name is a patient."""
    path = write(tmp_path, GOOD)
    (tmp_path / "patients.csv").write_text("patient,born\np1,1950\n")
    assert problems(path) == [(5, "patient")]
    (tmp_path / "patients.csv").write_text("patient\np1\np2\n")
    assert len(read_manifest(path, SLIDES).samples) == 4
    (tmp_path / "patients.csv").write_text("name\np1\n")
    assert problems(path) == [(1, "patient")]


def test_rows_of_a_skipped_slide_are_skipped_and_counted(tmp_path: Path) -> None:
    """Would catch a bad slide that makes the whole manifest useless, or rows that vanish uncounted."""
    rows = [
        ASK,
        {**ASK, "slide": "bad.svs", "patient": "p7"},
        {**DETECT, "slide": "bad.svs", "patient": "p7"},
    ]
    skipped = {name: EmptySlideError(name) for name in ("bad.svs", "other.svs")}
    manifest = read_manifest(write(tmp_path, rows), SlideIndex(SLIDES.slides, skipped))
    assert [sample.slide for sample in manifest.samples] == ["n2.svs"]
    assert manifest.skipped_rows == {"bad.svs": 2}


def test_a_header_must_be_the_documented_one(tmp_path: Path) -> None:
    """Would catch a misspelt optional column, and one column given twice."""
    assert problems(write(tmp_path, [ASK], [*COLUMNS, "chioces"])) == [(1, "chioces")]
    path = tmp_path / "manifest.csv"
    path.write_text(",".join([*COLUMNS, "task"]) + "\n")
    assert problems(path) == [(1, "task")]


def test_too_many_cells_are_a_problem_of_that_row(tmp_path: Path) -> None:
    """Would catch unquoted boxes that shift into other columns."""
    path = write(tmp_path, [ASK])
    path.write_text(path.read_text() + "p1,n1.svs,0,0,9,9,detection,Where?,,[[1,2,3,4]],,,\n")
    assert problems(path) == [(3, "(beyond the header)")]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'a,"b\n'])
@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """Would catch a reader's own exception that names neither the file nor what to do."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=name):
        read_manifest(path, SLIDES)


def test_an_absent_manifest_is_named(tmp_path: Path) -> None:
    """Would catch a bare FileNotFoundError."""
    with pytest.raises(ManifestError, match=r"gone\.csv"):
        read_manifest(tmp_path / "gone.csv", SLIDES)


def test_a_manifest_without_questions_is_refused(tmp_path: Path) -> None:
    """Would catch a hospital that takes part with nothing."""
    assert problems(write(tmp_path, [])) == [(1, "patient")]


def test_the_documented_example_is_a_manifest(tmp_path: Path) -> None:
    """Would catch a document that describes another format than the one which is read."""
    document = (Path(__file__).parents[3] / "docs" / "manifest.md").read_text(encoding="utf-8")
    path = tmp_path / "manifest.csv"
    path.write_text(document.split("```csv\n")[1].split("```")[0], encoding="utf-8")
    names = ("n-0017a.svs", "n-0018a.svs")
    slides = {name: Slide(name, Path(name), 0.5, 2000, 1000, (1.0,)) for name in names}
    samples = read_manifest(path, SlideIndex(slides)).samples
    assert [(sample.scale, sample.task) for sample in samples] == [
        ("roi", "classification"),
        ("roi", "detection"),
        ("roi", "segmentation"),
        ("roi", "vqa"),
        ("wsi", "vqa"),
    ]
    assert samples[1].answer == Boxes((Box(0, 0, 500, 500), Box(875, 750, 1000, 1000)))
    assert all(f"`{column}`" in document for column in COLUMNS)

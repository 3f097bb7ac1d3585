"""`fedpath-hospital import`, as it is typed: on real slide files, to a manifest that is then read."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.imports.found import ImportSourceError
from client.imports.questions import Questions
from client.imports.run import Asking, import_coco, import_qupath, open_slides
from client.imports.slides import patients_by_pattern
from client.selftest.patients import write_slides
from client.slides.index import index_slides
from client.tasks.manifest import read_manifest
from client.tasks.sample import Label, Region, Sample, Text

NAMES = ("p1-a.tif", "p2-a.tif")
SIDE = 256


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    samples = [Sample("p", name, Region(0, 0, 9, 9), "vqa", "?", Text("yes")) for name in NAMES]
    write_slides(tmp_path / "slides", samples)
    size = {(s.width, s.height) for s in index_slides(tmp_path / "slides").slides.values()}
    assert size == {(SIDE, SIDE)}
    return tmp_path / "slides"


def call(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["import", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def coco(folder: Path, boxes: list[list[float]]) -> Path:
    path = folder / "coco.json"
    images = [{"id": k, "file_name": name, "width": SIDE, "height": SIDE} for k, name in enumerate(NAMES)]
    annotations = [{"id": k, "image_id": 0, "category_id": 1, "bbox": box} for k, box in enumerate(boxes)]
    categories = [{"id": 1, "name": "gland"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def test_coco_to_a_manifest(tmp_path: Path, slides: Path) -> None:
    """Catches a manifest that its own reader refuses, or that others on the machine may read."""
    out = tmp_path / "manifest.csv"
    words = (
        coco(tmp_path, [[10, 20, 30, 40]]),
        "--slides",
        slides,
        "--out",
        out,
        "--patient-pattern",
        "^(p.)",
    )
    code, told, errors = call("coco", *words, "--json")
    assert (code, errors) == (0, "")
    assert json.loads(told) == {
        "written": True, "rows": 4, "patients": 2, "slides": 2, "tasks": {"detection": 2, "vqa": 2}, "problems": [],
    }  # fmt: skip
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    samples = read_manifest(out, index_slides(slides)).samples
    assert [(s.patient, s.task) for s in samples] == [
        ("p1", "detection"), ("p1", "vqa"), ("p2", "detection"), ("p2", "vqa"),
    ]  # fmt: skip
    code, _, errors = call("coco", *words)
    assert code == 2
    assert "the file is there already" in errors


def test_nothing_is_written_where_anything_is_wrong(tmp_path: Path, slides: Path) -> None:
    """Catches half a manifest, problems told one by one, a skip that hides what it left out, and one that teaches the
    glands of a slide, or their number, when two of three could not be read."""
    out = tmp_path / "manifest.csv"
    source = coco(tmp_path, [[10, 20, 30, 40], [1, 2, 3], [5, 5, 0, 0]])
    words = ("coco", source, "--slides", slides, "--out", out, "--patient-pattern", "^(p.)")
    code, told, errors = call(*words)
    assert (code, told) == (2, "")
    assert "annotations[1] (id 1)" in errors
    assert "annotations[2] (id 2)" in errors
    code, told, _ = call(*words, "--json")
    assert (code, len(json.loads(told)["problems"])) == (2, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["slides", "coco.json"] or not out.exists()
    code, told, errors = call(*words, "--skip")
    assert code == 0
    assert told == "2 questions (1 detection, 1 vqa) about 1 slides of 1 patients\n"
    assert errors.count("left out:") == 2
    assert [s.slide for s in read_manifest(out, index_slides(slides)).samples] == ["p2-a.tif"] * 2


def test_what_goes_wrong_is_told_to_programs_too(tmp_path: Path, slides: Path) -> None:
    """Catches a problem that --json has in another form than the others, or not at all, and a status of success."""
    words = ("--out", tmp_path / "m.csv", "--patient-pattern", "(p.)", "--json")
    for source, folder in ((tmp_path / "gone.json", slides), (coco(tmp_path, []), tmp_path / "gone")):
        code, told, errors = call("coco", source, "--slides", folder, *words)
        assert (code, errors) == (2, "")
        (problem,) = json.loads(told)["problems"]
        assert problem.keys() == {"where", "what", "advice"}


def test_what_files_hold_does_not_reach_the_terminal_as_it_is(tmp_path: Path, slides: Path) -> None:
    """Catches a label file that hides or forges what the command says."""
    source = coco(tmp_path, [[1, 2, 30, 40]])
    document = json.loads(source.read_text())
    document["images"][1] |= {"id": "\x1b[2J\u202e", "width": 9}
    source.write_text(json.dumps(document))
    words = ("coco", source, "--slides", slides, "--out", tmp_path / "m.csv", "--patient-pattern", "(p.)")
    for more, expected in (((), 2), (("--skip",), 0)):
        code, told, errors = call(*words, *more)
        assert code == expected
        assert "images[1] (id \\x1b[2J\\u202e)" in errors
        assert not {"\x1b", "\u202e"} & set(told + errors)


def test_how_far_it_is_is_told(tmp_path: Path, slides: Path) -> None:
    """Catches minutes of silence: slides, annotations, questions, files, each from nothing to all."""
    heard: list[tuple[str, int, int]] = []
    known = open_slides(slides, tmp_path / "m.csv", lambda *said: heard.append(said))
    asking = Asking(Questions(), patients_by_pattern("(p.)"), None, only_present=False)
    source = coco(tmp_path, [[k, k, 9, 9] for k in range(250)])
    import_coco(source, known, asking, tmp_path / "m.csv", False, lambda *said: heard.append(said))
    place = tmp_path / "exports"
    place.mkdir()
    (place / "p1-a.geojson").write_text("[]")
    (place / "._p1-a.geojson").write_text("not one of them")
    with pytest.raises(ImportSourceError, match="no region says what to ask about"):
        import_qupath(
            place, "Region*", known, asking, tmp_path / "n.csv", False, lambda *said: heard.append(said)
        )
    for what, of in (
        ("opening slides", 2),
        ("reading annotations", 250),
        ("writing questions", 2),
        ("reading files", 1),
    ):
        mine = [said for said in heard if said[0] == what and said[2] == of]
        assert (mine[0], mine[-1]) == ((what, 0, of), (what, of, of))
        assert len(mine) <= 130


@pytest.mark.parametrize(
    "patients",
    [
        [],
        ["--patient-pattern", "^(p.)", "--patients", "x"],
        ["--patient-pattern", "p"],
        ["--patient-pattern", "("],
    ],
)
def test_patients_are_never_guessed(tmp_path: Path, slides: Path, patients: list[str]) -> None:
    """Catches a slide taken for a person because nobody said otherwise."""
    out = tmp_path / "manifest.csv"
    code, _, errors = call("coco", coco(tmp_path, []), "--slides", slides, "--out", out, *patients)
    assert code == 2
    assert "patient" in errors
    assert not out.exists()


def test_a_table_of_patients(tmp_path: Path, slides: Path) -> None:
    """Catches a table whose names lack the suffix, one with a slide of two persons, and one without its columns."""
    source, table, out = coco(tmp_path, [[1, 2, 30, 40]]), tmp_path / "whose.csv", tmp_path / "manifest.csv"
    words = ("coco", source, "--slides", slides, "--out", out, "--patients", table)
    table.write_text("slide,patient\np1-a,anna\np2-a.tif,bert\np1-a.tif,carl\n")
    assert "row 4" in call(*words)[2]
    table.write_text("slide,person\np1-a,anna\n")
    assert "'patient' is missing" in call(*words)[2]
    table.write_text("slide,patient\np1-a,anna\np2-a.tif,bert\nelsewhere.svs,dora\n")
    assert call(*words)[0] == 0
    assert {s.patient for s in read_manifest(out, index_slides(slides)).samples} == {"anna", "bert"}


def test_qupath_to_a_manifest(tmp_path: Path, slides: Path) -> None:
    """Catches a folder of exports read as one file, and templates of the hospital's that are not used."""
    ring = [[[10, 10], [60, 10], [60, 60], [10, 60], [10, 10]]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": ring},
        "properties": {"objectType": "annotation", "classification": {"name": "Tumor"}},
    }
    folder, questions, out = tmp_path / "geojson", tmp_path / "questions.toml", tmp_path / "manifest.csv"
    folder.mkdir()
    for name in NAMES:
        (folder / name).with_suffix(".geojson").write_text(json.dumps([feature]))
    questions.write_text(
        '[questions]\ncount = ""\nsegmentation = "Outline the {label}."\n'
        '[questions.tumour]\ndetection = "Where is tumour?"\n[names]\nTumor = "tumour"\n'
    )
    words = ("qupath", folder, "--slides", slides, "--out", out, "--patient-pattern", "^(p.)")
    code, told, _ = call(*words, "--questions", questions, "--field", 128)
    assert (code, told) == (0, "4 questions (2 detection, 2 segmentation) about 2 slides of 2 patients\n")
    samples = read_manifest(out, index_slides(slides)).samples
    assert {s.question for s in samples} == {"Outline the tumour.", "Where is tumour?"}
    assert {s.region for s in samples} == {Region(0, 0, 128, 128)}
    (folder / "p1-a.geojson").write_text("{")
    assert "p1-a.geojson: it can't be read as JSON" in call(*words[:5], tmp_path / "b.csv", *words[6:])[2]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[question]", "question:"),
        ("questions = 3", "questions."),
        ('[questions]\ncounts = "How many?"', "questions.counts"),
        ("[questions.gland]\ncount = 3", "questions.gland.count"),
        ("[names]\nTumor = 3", "names.Tumor"),
        ("names", "can't be read"),
        ('[names]\nGlnd = "acinus"', "questions.toml, names.Glnd: no class is called so; write 'gland'"),
    ],
)
def test_a_wrong_file_of_templates_is_named(tmp_path: Path, slides: Path, text: str, where: str) -> None:
    """Catches a misspelt template that is passed over in silence."""
    questions = tmp_path / "questions.toml"
    questions.write_text(text)
    words = (
        "--slides",
        slides,
        "--out",
        tmp_path / "m.csv",
        "--patient-pattern",
        "(.)",
        "--questions",
        questions,
    )
    code, _, errors = call("coco", coco(tmp_path, []), *words)
    assert code == 2
    assert where in errors


MAPPING = """
slide = "File"
patient = "Case"

[[ask]]
column = "Diagnosis"
question = "What is the diagnosis?"
values = { CA = "carcinoma", AD = "adenoma" }

[[ask]]
column = "Grade"
question = "Which grade is it?"

[[ask]]
column = "Note"
question = "What stands out?"
task = "vqa"
closed = false
"""
TABLE = "File,Case,Diagnosis,Grade,Note\np1-a,anna,CA,high,much necrosis\np2-a.tif,bert,AD,,\n"


def test_a_table_of_slide_labels(tmp_path: Path, slides: Path) -> None:
    """Catches codes taught as answers, an empty cell taught as an answer, and choices that leave out the truth."""
    table, mapping, out = tmp_path / "labels.csv", tmp_path / "mapping.toml", tmp_path / "manifest.csv"
    table.write_text(TABLE)
    mapping.write_text(MAPPING)
    words = ("csv", table, "--mapping", mapping, "--slides", slides, "--out")
    assert call(*words, out)[0] == 0
    samples = read_manifest(out, index_slides(slides)).samples
    assert [(s.patient, s.answer, s.choices) for s in samples] == [
        ("anna", Label("carcinoma"), ("carcinoma", "adenoma")),
        ("anna", Label("high"), ("high",)),
        ("anna", Text("much necrosis"), ()),
        ("bert", Label("adenoma"), ("carcinoma", "adenoma")),
    ]
    assert {s.scale for s in samples} == {"wsi"}
    table.write_text(TABLE + "p2-a.tif,bert,CA,,\np9.tif,dora,CA,,\np1-a.tif,,XX,,\n")
    code, told, _ = call(*words, tmp_path / "b.csv", "--json")
    assert (code, sorted(p["where"] for p in json.loads(told)["problems"])) == (
        2,
        [f"labels.csv, row {n}" for n in (4, 5, 6)],
    )


def test_two_words_for_one_answer_are_no_two_choices(tmp_path: Path, slides: Path) -> None:
    """Catches cells in mixed case, or codes, that become choices of which a wrong one is right; a problem for every row;
    and, skipped, other columns that go with it."""
    table, mapping, out = tmp_path / "labels.csv", tmp_path / "mapping.toml", tmp_path / "manifest.csv"
    table.write_text("File,Case,Diagnosis,Grade,Note\np1-a,anna,CA,High,\np2-a.tif,bert,AD,high,\n")
    words = ("csv", table, "--mapping", mapping, "--slides", slides, "--out", out, "--json")
    mapping.write_text(MAPPING)
    code, told, _ = call(*words)
    (problem,) = json.loads(told)["problems"]
    assert (code, problem["where"]) == (2, "column 'Grade'")
    assert "'High' and 'high' are one answer" in problem["what"]
    mapping.write_text(MAPPING.replace('AD = "adenoma"', 'AD = "Carcinoma."'))
    problem, *_ = json.loads(call(*words)[1])["problems"]
    assert problem["where"] == "column 'Diagnosis'"
    mapping.write_text(MAPPING.replace('AD = "adenoma"', 'AD = " carcinoma "'))
    assert call(*words, "--skip")[0] == 0
    assert [s.choices for s in read_manifest(out, index_slides(slides)).samples] == [("carcinoma",)] * 2


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('slide = "File"', "slide = 3", "slide"),
        ('patient = "Case"', "", "patient"),
        ('column = "Grade"', "", "ask 2"),
        ('task = "vqa"', 'task = "detection"', "ask 3"),
        ("closed = false", 'closed = "no"', "ask 3"),
        ("values", "value", "ask 1"),
        ('"carcinoma"', "3", "ask 1"),
        ('column = "Grade"', 'column = "Rank"', "labels.csv, row 1"),
        ("[[ask]]", "[[asks]]", "ask"),
    ],
)
def test_a_wrong_mapping_is_named(tmp_path: Path, slides: Path, old: str, new: str, where: str) -> None:
    """Catches a mapping that is half understood."""
    table, mapping = tmp_path / "labels.csv", tmp_path / "mapping.toml"
    table.write_text(TABLE)
    mapping.write_text(MAPPING.replace(old, new))
    code, _, errors = call(
        "csv", table, "--mapping", mapping, "--slides", slides, "--out", tmp_path / "m.csv"
    )
    assert code == 2
    assert where in errors

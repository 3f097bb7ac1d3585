"""Which slide a source means by a name: labels of one specimen never go to another's slide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from client.errors import EmptySlideError
from client.imports.slides import SlideNames, patients_by_table
from client.slides.index import SlideIndex
from client.slides.slide import Slide


def names_of(*names: str, parts: dict[str, str] | None = None) -> SlideNames:
    slides = {name: Slide(name, Path(name), 0.5, 200, 100, (1.0,)) for name in names}
    return SlideNames(SlideIndex(slides, {"empty.svs": EmptySlideError("empty.svs")}, parts or {}))


@dataclass(frozen=True)
class Case:
    """What a source writes, and the slide that it means; "" where it means none, "?" where it may mean several."""

    written: str
    meant: str
    slides: tuple[str, ...]


CASES = {
    "the file itself": Case("C7.svs", "C7.svs", ("C7.svs", "C7.2.svs")),
    "a specimen that is not there": Case("C7.2", "", ("C7.svs",)),
    "its file, not there": Case("C7.2.svs", "", ("C7.svs",)),
    "its export, not there": Case("C7.2.geojson", "", ("C7.svs",)),
    "a stem that ends in a number": Case("B20.2", "B20.2.svs", ("B20.svs", "B20.2.svs")),
    "its image": Case("B20.2.png", "B20.2.svs", ("B20.svs", "B20.2.svs")),
    "the shorter one of the two": Case("B20", "B20.svs", ("B20.svs", "B20.2.svs")),
    "a date": Case("H-12.03.2021", "H-12.03.2021.ndpi", ("H-12.03.2021.ndpi", "H-12.03.ndpi")),
    "an abbreviation": Case("colon.asc", "", ("colon.svs",)),
    "no suffix": Case("a", "a.svs", ("a.svs",)),
    "an image": Case("a.PNG", "a.svs", ("a.svs",)),
    "another slide format": Case("a.tiff", "a.svs", ("a.svs",)),
    "an export": Case("a.geojson", "a.svs", ("a.svs",)),
    "an export after the suffix": Case("a.svs.geojson", "a.svs", ("a.svs", "a.tif")),
    "two formats": Case("a.geojson", "?", ("a.svs", "a.tif")),
    "one of two formats": Case("a.tif", "a.tif", ("a.svs", "a.tif")),
    "a name before a stem": Case("a.svs", "a.svs", ("a.svs", "a.svs.tif")),
    "two suffixes in one": Case("a", "a.ome.tif", ("a.ome.tif",)),
    "two suffixes, an export": Case("a.ome.tif.json", "a.ome.tif", ("a.ome.tif",)),
    "folders of elsewhere": Case("D:\\export\\2021\\a.png", "a.svs", ("a.svs", "b.svs")),
    "folders of the slides": Case("/mnt/x/2021/a.jpg", "2021/a.svs", ("2021/a.svs", "2022/a.svs")),
    "no folder where two have it": Case("a.jpg", "?", ("2021/a.svs", "2022/a.svs")),
    "another folder of the slides": Case("2022/a.svs", "", ("2021/a.svs", "2022/b.svs")),
    "written as in a URL": Case("images/S%2021%2F7/a%20b.png", "a b.svs", ("a b.svs",)),
    "a name that looks like that": Case("a%20b.svs", "a%20b.svs", ("a b.svs", "a%20b.svs")),
    "composed otherwise": Case("Mu\u0308ller.png", "M\u00fcller.svs", ("M\u00fcller.svs",)),
    "nothing": Case("", "", ("a.svs",)),
    "a folder": Case("x/", "", ("a.svs",)),
    "only a suffix": Case(".svs", "", ("a.svs",)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_slide_is_meant_by_its_name(name: str) -> None:
    """Catches labels of one specimen that go to another's slide, and a slide that is not found by its own name."""
    case = CASES[name]
    found = names_of(*case.slides).find(case.written)
    if isinstance(found, Slide):
        assert found.name == case.meant
    else:
        assert ("may be any of" in found, "there is no slide" in found) == (
            case.meant == "?",
            case.meant == "",
        )


def test_a_further_file_of_a_dicom_slide_means_the_slide() -> None:
    """Catches a level's file that is called unknown, or two files of one slide that are called two slides."""
    slides = names_of("d/1.dcm", parts={"d/2.dcm": "d/1.dcm"})
    assert slides.find("d/2.dcm") == slides.find("1") == slides.slides["d/1.dcm"]


def test_a_slide_that_can_not_serve_says_why() -> None:
    """Catches a slide that is called unknown though it lies there."""
    assert "can't serve" in str(names_of().find("empty.json"))


def test_a_patient_of_a_slide_that_is_not_there_is_not_anothers(tmp_path: Path) -> None:
    """Catches C7.svs taken for the patient of C7.2, whose slide is not there: their privacy would be counted as one."""
    table = tmp_path / "whose.csv"
    table.write_text("slide,patient\nC7.2,bert\nC7,anna\nB20.2,carl\n")
    patients = patients_by_table(table, names_of("C7.svs", "B20.svs", "B20.2.svs"))
    assert [patients.of(name) for name in ("C7.svs", "B20.svs", "B20.2.svs")] == ["anna", None, "carl"]

"""Which files of a folder are slides: hostile, odd and far-away folders."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import openslide
import pytest

from client.errors import SlideFolderError
from client.pseudonyms import Pseudonyms
from client.slides.files import SUFFIXES, list_slides
from client.slides.index import index_slides
from client.slides.names import FileNames
from tests.aperio import picture, write_slide
from tests.drawn_tissue import tissue
from tests.planted_dicom import write_dicom
from tests.planted_slides import WORDS


def make(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(folder: Path) -> list[str]:
    return [file.name for file in list_slides(folder).files]


def refused(folder: Path) -> dict[str, str]:
    return {name: error.reason for name, error in list_slides(folder).refused.items()}


def test_slides_of_subfolders_are_named_by_their_path_in_order(tmp_path: Path) -> None:
    """Catches a department's year and case folders passed over, and slides of one file name taken for each other."""
    for name in ("b.svs", "2024/case 7/1.svs", "2023/a.svs", "2024/case 8/1.svs", "a.SVS"):
        make(tmp_path / name)
    make(tmp_path / "2023" / "notes.txt")
    (tmp_path / "folder.svs").mkdir()
    assert names(tmp_path) == ["2023/a.svs", "2024/case 7/1.svs", "2024/case 8/1.svs", "a.SVS", "b.svs"]
    assert list_slides(tmp_path).files[1].path == tmp_path / "2024/case 7/1.svs"


def test_every_format_of_openslide_is_a_slide(tmp_path: Path) -> None:
    """Catches a scanner's format that nobody notices is missing."""
    for suffix in SUFFIXES:
        make(tmp_path / f"a{suffix}", b"")
    assert len(names(tmp_path)) == len(SUFFIXES) == 12


def test_what_begins_with_a_dot_is_passed_over(tmp_path: Path) -> None:
    """Catches a storage's snapshots, in which each slide is there once more, and a Mac's resource forks."""
    for name in (".snapshot/daily/a.svs", "._a.svs", "a.svs", ".nfs0001.svs"):
        make(tmp_path / name)
    assert names(tmp_path) == ["a.svs"]
    assert refused(tmp_path) == {}


@dataclass(frozen=True)
class Links:
    """Links in `inside/`, by what they hold; `outside/s.svs` and `inside/x/s.svs` are there. What is refused, and found."""

    links: dict[str, str]
    refused: dict[str, str] = field(default_factory=dict)
    found: tuple[str, ...] = ()


LINKS = {
    "to a file outside": Links({"l.svs": "../outside/s.svs"}, {"l.svs": "outside"}),
    "by its full path": Links({"l.svs": "/etc/hostname"}, {"l.svs": "outside"}),
    "to a folder outside": Links({"more": "../outside"}, {"more": "outside"}),
    "through another link": Links(
        {"a.svs": "../outside/s.svs", "b.svs": "a.svs"}, {"a.svs": "outside", "b.svs": "outside"}
    ),
    "through a linked folder": Links(
        {"more": "../outside", "l.svs": "more/s.svs"}, {"more": "outside", "l.svs": "outside"}
    ),
    "to a device": Links({"zero.svs": "/dev/zero"}, {"zero.svs": "outside"}),
    "to a file inside": Links({"l.svs": "x/s.svs"}, found=("l.svs",)),
    "to a folder inside": Links({"again": "x"}),
    "to its own folder": Links({"loop": "."}),
    "to itself": Links({"l.svs": "l.svs"}, {"l.svs": "unreadable"}),
    "to nothing": Links({"l.svs": "none.svs"}, {"l.svs": "unreadable"}),
    "to nothing outside": Links({"l.svs": "../none.svs"}, {"l.svs": "outside"}),
}


@pytest.mark.parametrize("case", LINKS)
def test_a_link_is_followed_only_inside_the_folder(tmp_path: Path, case: str) -> None:
    """Catches a link through which another folder's files are read, an endless walk, and one bad link that ends it."""
    inside = tmp_path / "inside"
    make(tmp_path / "outside" / "s.svs")
    make(inside / "x" / "s.svs")
    for name, target in LINKS[case].links.items():
        (inside / name).symlink_to(target)
    assert refused(inside) == LINKS[case].refused
    assert names(inside) == [*LINKS[case].found, "x/s.svs"]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    """Catches a mount point behind a link, all of whose slides would lie outside."""
    make(tmp_path / "mount" / "a.svs")
    (tmp_path / "slides").symlink_to(tmp_path / "mount")
    (file,) = list_slides(tmp_path / "slides").files
    assert (file.name, file.path) == ("a.svs", tmp_path / "slides" / "a.svs")


def test_what_is_no_file_is_refused_unopened(tmp_path: Path) -> None:
    """Catches a pipe that a slide reader waits at for ever."""
    os.mkfifo(tmp_path / "pipe.svs")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "socket.svs"))
    assert refused(tmp_path) == {"pipe.svs": "unreadable", "socket.svs": "unreadable"}
    assert reasons(tmp_path) == {"pipe.svs": "unreadable", "socket.svs": "unreadable"}


def reasons(folder: Path) -> dict[str, str]:
    return {name: error.reason for name, error in index_slides(folder).skipped.items()}


def test_a_name_that_is_no_text_is_refused_by_it(tmp_path: Path) -> None:
    """Catches a name in an old system's letters that ends the whole run, or that can't be printed."""
    (tmp_path / os.fsdecode(b"M\xfcller.svs")).write_bytes(b"x")
    make(tmp_path / "a.svs")
    assert names(tmp_path) == ["a.svs"]
    assert refused(tmp_path) == {"M\\xfcller.svs": "odd-name"}
    (error,) = list_slides(tmp_path).refused.values()
    assert str(error).encode().decode().endswith("rename it")


def test_names_in_any_script_are_slides(tmp_path: Path) -> None:
    """Catches a reader or a catalogue that knows ASCII only; with spaces, quotes and line ends besides."""
    odd = ["Grün/ä.svs", "片/切片.svs", "ne\u0301.svs", "a b'\".svs", "line\nend.svs", "🔬.svs"]
    for name in odd:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_slide(tmp_path / name, picture(120, 80), downsamples=())
    index = index_slides(tmp_path, tmp_path.with_suffix(".db"), Pseudonyms.passing())
    assert sorted(index.slides) == sorted(odd)
    assert index.slides == index_slides(tmp_path, tmp_path.with_suffix(".db"), Pseudonyms.passing()).slides


COMPOSED, APART = unicodedata.normalize("NFC", "Grün/né.svs"), unicodedata.normalize("NFD", "Grün/né.svs")


@pytest.mark.parametrize(
    ("there", "written", "meant"),
    [
        (["a.svs"], "a.svs", ["a.svs"]),
        ([COMPOSED], APART, [COMPOSED]),
        ([APART], COMPOSED, [APART]),
        ([COMPOSED, APART], APART, [APART]),
        ([COMPOSED, APART], "né.svs", [COMPOSED, APART]),
        (["x/1.svs", "y/2.svs"], "2.svs", ["y/2.svs"]),
        (["x/1.svs", "y/1.svs"], "1.svs", ["x/1.svs", "y/1.svs"]),
        (["1.svs", "y/1.svs"], "1.svs", ["1.svs"]),
        (["x/1.svs"], "y/1.svs", []),
        (["x/1.svs"], "X/1.svs", []),
        (["a.svs"], "A.svs", []),
        (["a.svs"], "", []),
        (["x/y/1.svs"], "y/1.svs", []),
    ],
)
def test_a_written_name_means_the_slide_that_bears_it(
    there: list[str], written: str, meant: list[str]
) -> None:
    """Catches a Mac's names that no manifest can write, and one of two slides that is guessed."""
    assert list(FileNames(there).find(written)) == sorted(meant)


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("case-7", ["a/case-7.svs", "b/case-9.svs"]),
        ("b/overveiw.ndpi", ["overview.ndpi"]),
        ("zzz.tif", []),
    ],
)
def test_a_name_that_no_slide_bears_has_others_near_it(written: str, near: list[str]) -> None:
    """Catches a misspelt name that is told as a damaged file, and one that is answered by any other name."""
    names = FileNames(["a/case-7.svs", "b/case-9.svs", "overview.ndpi"])
    assert list(names.near(written)) == near


def test_a_slide_of_several_files_is_another_once_any_of_them_is(tmp_path: Path) -> None:
    """Catches a MIRAX slide that is known by its small first file, while its pixels were copied anew."""
    make(tmp_path / "m.mrxs")
    data = [make(tmp_path / "m" / f"Data{number:04}.dat") for number in range(3)]
    make(
        tmp_path / "v.vms",
        b"[Virtual Microscope Specimen]\r\nImageFile=v(0,0).jpg\r\nMapFile=map.jpg\r\nLayers=1\r\n",
    )
    tile = make(tmp_path / "v(0,0).jpg")
    make(tmp_path / "s.svs")
    before = {file.name: file for file in list_slides(tmp_path).files}
    assert [len(file.files) for file in before.values()] == [4, 1, 2]
    assert before["m.mrxs"].size == 4
    for changed, name in ((data[1], "m.mrxs"), (tile, "v.vms")):
        os.utime(changed, ns=(1, 1))
        after = {file.name: file for file in list_slides(tmp_path).files}
        assert [key for key in after if after[key].stamp != before[key].stamp] == [name]
        before = after
    data[2].unlink()
    assert list_slides(tmp_path).files[0].stamp != before["m.mrxs"].stamp


def test_dicom_files_of_a_folder_are_looked_at_anew_together(tmp_path: Path) -> None:
    """Catches a slide whose levels are known from before one of them came."""
    for name in ("x/1.dcm", "x/2.dcm", "y/1.dcm"):
        make(tmp_path / name)
    before = {file.name: file.stamp for file in list_slides(tmp_path).files}
    make(tmp_path / "x" / "3.DCM")
    after = {file.name: file.stamp for file in list_slides(tmp_path).files}
    assert {name for name in before if before[name] != after[name]} == {"x/1.dcm", "x/2.dcm"}


def test_a_file_written_anew_under_its_old_time_is_another(tmp_path: Path) -> None:
    """Catches facts of a slide that was overwritten in place, size and time alike: a restore, or a copy that keeps times."""
    path = make(tmp_path / "a.svs", b"one")
    state, (before,) = path.stat(), list_slides(tmp_path).files
    assert list_slides(tmp_path).files == (before,)
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    (after,) = list_slides(tmp_path).files
    assert (after.size, after.modified, path.stat().st_ino) == (before.size, before.modified, state.st_ino)
    assert after.stamp != before.stamp


@pytest.mark.parametrize("name", ["b.dcm", "b.DCM", "b", ".b.dcm", "b.bak"])
def test_a_dicom_slide_beside_a_link_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    """Catches a level of another folder's slide: OpenSlide looks for a series' levels in all files beside the one that it
    opens, through links, whatever they are called."""
    first, second = write_dicom(tmp_path / "outside", tissue(256), 0.5, WORDS, series="88.8")
    inside = tmp_path / "inside"
    (inside / "x").mkdir(parents=True)
    shutil.copy(first, inside / "x" / "a.dcm")
    (inside / "x" / name).symlink_to(second)
    with openslide.OpenSlide(inside / "x" / "a.dcm") as handle:
        assert handle.level_count == 2
    (inside / "y").mkdir()
    shutil.copy(first, inside / "y" / "a.dcm")
    shutil.copy(second, inside / "y" / "b.dcm")
    (inside / "y" / "again.dcm").symlink_to("b.dcm")
    make(inside / "x" / "c.svs")
    linked = {f"x/{name}": "outside"} if name.lower() == "b.dcm" else {}
    assert refused(inside) == {"x/a.dcm": "outside"} | linked
    assert names(inside) == ["x/c.svs", "y/a.dcm", "y/again.dcm", "y/b.dcm"]


@pytest.mark.parametrize("way", ["../outside/p.jpg", "/etc/hostname"])
def test_parts_that_lead_out_of_the_folder_refuse_the_slide(tmp_path: Path, way: str) -> None:
    """Catches a slide's index file that makes the reader open what lies elsewhere."""
    make(tmp_path / "outside" / "p.jpg")
    make(tmp_path / "inside" / "v.vms", f"ImageFile={way}\n".encode())
    make(tmp_path / "inside" / "m.mrxs")
    (tmp_path / "inside" / "m").symlink_to(tmp_path / "outside")
    assert refused(tmp_path / "inside") == {"m": "outside", "m.mrxs": "outside", "v.vms": "outside"}


def test_a_folder_that_is_not_there_or_is_a_file_is_named(tmp_path: Path) -> None:
    """Catches a wrong setting that looks like a hospital without slides."""
    for place in (tmp_path / "nowhere", make(tmp_path / "file")):
        with pytest.raises(SlideFolderError, match=place.name):
            list_slides(place)


def test_a_folder_of_slides_is_only_read(tmp_path: Path) -> None:
    """Catches a log, a lock or a cache that is written beside slides on a read-only mount."""
    slides = tmp_path / "slides"
    write_slide(slides.parent / "a.svs", picture(120, 80), downsamples=())
    slides.mkdir()
    (tmp_path / "a.svs").rename(slides / "a.svs")
    (slides / "a.svs").chmod(0o444)
    slides.chmod(0o555)
    before = {path: path.stat() for path in (slides, *slides.iterdir())}
    assert list(index_slides(slides, tmp_path / "c.db", Pseudonyms.passing()).slides) == ["a.svs"]
    after = {path: path.stat() for path in (slides, *slides.iterdir())}
    assert {p: (s.st_mtime_ns, s.st_ino, s.st_size) for p, s in before.items()} == {
        p: (s.st_mtime_ns, s.st_ino, s.st_size) for p, s in after.items()
    }


LISTED = """
import json, sys
from pathlib import Path
from client.slides.index import index_slides
index = index_slides(Path(sys.argv[1]), Path(sys.argv[2]))
print(json.dumps([list(index.slides), {k: e.reason for k, e in index.skipped.items()}, index.closed]))
"""


def test_an_unreadable_subfolder_is_named_and_stops_nothing(tmp_path: Path) -> None:
    """Catches a permission that is missing on one folder and hides the others, or that nobody hears of; and rows about
    slides in it that become errors.
    """
    slides = tmp_path / "slides"
    for name in ("a.svs", "shut/b.svs"):
        (slides / name).parent.mkdir(parents=True, exist_ok=True)
        write_slide(slides / name, picture(120, 80), downsamples=())
    arguments = [sys.executable, "-c", LISTED, str(slides), str(tmp_path / "c.db")]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read everything here, and there is no setpriv to change that")
        drop = "-dac_override,-dac_read_search"
        arguments = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", *arguments]

    def listed() -> object:
        return json.loads(subprocess.run(arguments, capture_output=True, check=True, text=True).stdout)

    assert listed() == [["a.svs", "shut/b.svs"], {}, []]
    (slides / "shut").chmod(0)
    try:
        assert listed() == [["a.svs"], {"shut/b.svs": "unreadable"}, ["shut"]]
    finally:
        (slides / "shut").chmod(0o755)
    assert listed() == [["a.svs", "shut/b.svs"], {}, []]


def test_folders_may_lie_in_each_other_to_any_depth(tmp_path: Path) -> None:
    """Catches a walk that calls itself: a loop of a broken export, a thousand folders deep, ended all runs."""
    make(tmp_path / "a.svs")
    deep = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):  # deeper than a path can be long: made step by step
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    try:
        listing = list_slides(tmp_path)
        assert [file.name for file in listing.files] == ["a.svs"]
        assert all(set(name) == {"d", "/"} for name in listing.closed)  # what no path can name is told
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)

"""`fedpath-hospital index`, as hospital IT types it: before and after init, killed, over bad slides, for a program."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.home import Home, Settings, create
from client.pseudonyms import Pseudonyms
from client.slides.catalogue import open_catalogue
from client.tasks.manifest_row import COLUMNS
from tests.aperio import picture, write_slide


def index(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["index", *map(str, arguments)])


def told(*arguments: object) -> dict[str, Any]:
    done = index(*arguments, "--json")
    assert done.exit_code == 0, done.output
    values: dict[str, Any] = json.loads(done.stdout)
    return values


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Slides in folders, a bad one, a copy, and labels of two patients."""
    slides = tmp_path / "slides"
    for number, name in enumerate(("a.svs", "2024/b.svs", "2024/c.svs")):
        (slides / name).parent.mkdir(parents=True, exist_ok=True)
        image = picture(200, 130)
        image[..., 2] = number
        write_slide(slides / name, image, downsamples=())
    shutil.copy(slides / "a.svs", slides / "copy.svs")
    (slides / "bad.svs").write_bytes(b"")
    rows = [("anna", "a.svs"), ("Anna", "a.svs"), ("bert", "b.svs"), ("dora", "c.svs"), ("emil", "c.svs")]
    lines = [f"{patient},{slide},,,,,vqa,Is it?,yes,," for patient, slide in rows]
    (tmp_path / "labels.csv").write_text("\n".join((",".join(COLUMNS), *lines)) + "\n")
    return tmp_path


def home_of(data: Path, folder: Path) -> Home:
    return create(folder, Settings("north", data / "slides", data / "labels.csv", data))


def test_the_form_before_init_and_the_form_after_it_share_one_catalogue(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches hours of looking that are done again once the home is made, and an init that makes other pseudonyms."""
    (data / "north").mkdir()
    monkeypatch.chdir(data / "north")
    first = told("../slides", "--manifest", "../labels.csv")
    assert sorted(path.name for path in Path().iterdir()) == ["catalogue.db", "keys"]
    secret = Path("keys/pseudonyms.key").read_bytes()
    home = home_of(data, Path.cwd())
    assert (home.folder / "keys" / "pseudonyms.key").read_bytes() == secret
    before = home.catalogue.stat().st_mtime_ns
    assert told() == told(home.folder) == first == told("../slides")
    assert home.catalogue.stat().st_mtime_ns == before, "nothing was new"
    assert first["catalogue"] == str(home.catalogue)


def test_what_is_told_of_slides_patients_and_copies(data: Path) -> None:
    """Catches a patient's key in the output, a bad slide that hides others, and an order that changes."""
    found = told(data / "slides", "--manifest", data / "labels.csv", "--home", data / "home")
    names = ["2024/b.svs", "2024/c.svs", "a.svs", "bad.svs", "copy.svs"]
    slides = {slide["name"]: slide for slide in found["slides"]}
    assert list(slides) == names
    secret = Pseudonyms.of_file(data / "home" / "keys" / "pseudonyms.key")
    assert [slides[name]["patient"] for name in names] == [
        secret.patient("bert"), None, None, None, None,
    ], "a.svs has a patient in two spellings, c.svs has two patients"  # fmt: skip
    assert {name: slide["reason"] for name, slide in slides.items() if slide["reason"]} == {
        "bad.svs": "empty"
    }
    assert slides["copy.svs"]["copy_of"] == "a.svs"
    assert slides["a.svs"]["sha256"] == slides["copy.svs"]["sha256"]
    assert len({slide["key"] for slide in slides.values()}) == 5
    assert (slides["a.svs"]["width"], slides["a.svs"]["mpp"], slides["a.svs"]["vendor"]) == (
        200,
        0.5,
        "aperio",
    )
    assert [finding["code"] for finding in found["findings"]][:2] == ["empty", "duplicate"]
    assert (found["can_serve"], found["can_not_serve"], found["copies"]) == (4, 1, 1)
    assert not any(name in json.dumps(found) for name in ("anna", "Anna", "bert", "dora"))


def test_one_slide_of_two_patients_is_told_with_what_to_do(data: Path) -> None:
    """Catches one person counted as two because a slide was copied under another name and labelled again."""
    rows = [
        f"{patient},{slide},,,,,vqa,Is it?,yes,,"
        for patient, slide in (("anna", "a.svs"), ("bert", "copy.svs"))
    ]
    (data / "labels.csv").write_text("\n".join((",".join(COLUMNS), *rows)) + "\n")
    done = index(data / "slides", "--manifest", data / "labels.csv", "--home", data / "home")
    assert done.exit_code == 0, "it stops nothing"
    assert "slides a.svs, copy.svs: the same slide, of 2 patients" in done.stdout
    assert "give all rows about it that patient's key" in done.stdout
    assert not any(name in done.output for name in ("anna", "bert"))


def test_a_gone_slide_is_kept_while_it_is_asked_about_and_then_forgotten(data: Path) -> None:
    """Catches a catalogue that only grows, and one that forgets why rows are skipped."""
    home = home_of(data, data / "home")
    (data / "slides" / "2024" / "b.svs").unlink()
    (data / "slides" / "copy.svs").unlink()
    told(home.folder)
    write_slide(data / "slides" / "2024" / "b.svs", picture(200, 130), downsamples=())
    told(home.folder)
    for name in ("2024/b.svs", "2024/c.svs"):
        (data / "slides" / name).unlink()
    found = told(home.folder)
    assert {slide["name"]: slide["reason"] for slide in found["slides"]} == {
        "2024/b.svs": "gone", "2024/c.svs": "gone", "a.svs": None, "bad.svs": "empty",
    }, "of copy.svs nothing was asked"  # fmt: skip
    assert found["gone"] == 2


def test_a_manifest_that_can_not_be_read_yet_leaves_the_slides_told(data: Path) -> None:
    """Catches an index that waits for labels which are still being written."""
    (data / "labels.csv").write_text("who,what\n1,2\n")
    done = index(data / "slides", "--manifest", data / "labels.csv", "--home", data / "home")
    assert done.exit_code == 0
    assert "whose the slides are is not known" in done.stderr
    assert "4 slides can serve, 1 can't" in done.stdout
    assert told(data / "slides", "--home", data / "home")["can_serve"] == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("HOME", "--home", "OTHER"), "is a home itself"),
        (("OTHER", "--home", "HOME"), "is the home of"),
        (("SLIDES", "--home", "SLIDES"), "nothing is ever written"),
        (("SLIDES", "--home", "SLIDES/2024/new"), "nothing is ever written"),
        (("NOWHERE", "--home", "OTHER"), "can't be listed"),
        (("SLIDES", "--home", "OTHER", "--manifest", "BADSCALES/m.csv"), "row 2"),
    ],
)
def test_a_wrong_command_is_told_what_to_do(data: Path, arguments: tuple[str, ...], said: str) -> None:
    """Catches a file that is written among slides, and a home that keeps another folder's catalogue."""
    home_of(data, data / "HOME")
    (data / "OTHER").mkdir()
    (data / "BADSCALES").mkdir()
    (data / "BADSCALES" / "mpp.csv").write_text("slide,mpp\na.svs,0\n")
    places = [word.replace("SLIDES", "slides") if "BAD" not in word else word for word in arguments]
    before = {path: path.stat().st_mtime_ns for path in (data / "slides").rglob("*")}
    done = index(*[word if word.startswith("--") else data / word for word in places])
    assert done.exit_code == 2
    assert said in done.output.replace("\n", " ")
    assert {path: path.stat().st_mtime_ns for path in (data / "slides").rglob("*")} == before


def test_a_misspelt_folder_makes_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a home's path with a slip in it that turns the folder one stands in into a home."""
    (data / "here").mkdir()
    monkeypatch.chdir(data / "here")
    assert index(data / "hom").exit_code == 2
    assert list(Path().iterdir()) == []


def test_standing_among_the_slides_nothing_is_written_there(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches the shortest command of all, typed in the wrong folder."""
    monkeypatch.chdir(data / "slides")
    assert index().exit_code == 2
    assert sorted(path.name for path in Path().iterdir()) == ["2024", "a.svs", "bad.svs", "copy.svs"]


def test_a_killed_index_goes_on(data: Path) -> None:
    """Catches a command that starts over; as a process of its own, killed as soon as it has kept anything."""
    for number in range(30):
        shutil.copy(data / "slides" / "2024" / "b.svs", data / "slides" / f"{number:02}.svs")
    home = home_of(data, data / "home")
    command = [sys.executable, "-c", "from client.cli import app; app()", "index", str(home.folder)]

    def kept() -> int:
        with open_catalogue(home.catalogue) as catalogue:
            return len(catalogue.entries())

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not kept():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open_catalogue(home.catalogue) as catalogue:
        done = {name: entry for name, entry in catalogue.entries().items() if entry.facts}
    assert len(done) > 0
    found = told(home.folder)
    assert found["can_serve"] == 34
    with open_catalogue(home.catalogue) as catalogue:
        then = catalogue.entries()
    assert {name: then[name].facts for name in done} == {name: entry.facts for name, entry in done.items()}


def test_a_terminal_sees_a_bar_and_a_log_does_not(data: Path) -> None:
    """Catches a screen that stands still for hours, and a log full of bars."""
    command = [sys.executable, "-c", "from client.cli import app; app()", "index", str(data / "slides")]
    quiet = subprocess.run([*command, "--home", str(data / "one")], capture_output=True, check=True)
    assert quiet.stderr == b""
    ours, theirs = pty.openpty()
    shown = subprocess.Popen(
        [*command, "--home", str(data / "two")],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    screen = b""
    try:
        while part := os.read(ours, 4096):
            screen += part
    except OSError:
        pass  # the other end was closed
    assert shown.wait() == 0
    assert b"opening slides" in screen
    assert b"measuring quality" in screen
    assert b"a.svs" not in screen

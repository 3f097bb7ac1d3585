"""Who the patient is stays in the slide: identifiers are planted wherever a vendor may put them, and all outputs are
searched for them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import openslide
import pytest

from client.home import Settings, create
from client.slides.catalogue import open_catalogue
from client.tasks.manifest_row import COLUMNS
from tests.drawn_tissue import tissue
from tests.planted_slides import PLANTED, WORDS, plant

SERIES = "88.8159920"
HIDDEN = (*WORDS, "JANE", "1957-03", "1957:03", SERIES)
PATIENTS = ("Erika Mustermann", "MRN-4711")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole slides of every vendor; each also cut short, and with damage in the midst of its data."""
    folder = tmp_path_factory.mktemp("planted")
    plant(folder / "slides" / "whole", tissue(512)[:384])
    for name in PLANTED:
        data = (folder / "slides" / "whole" / name).read_bytes()
        for kind, spoilt in (("cut", data[: len(data) * 2 // 3]), ("torn", _torn(data))):
            place = folder / "slides" / kind
            place.mkdir(exist_ok=True)
            (place / name).write_bytes(spoilt)
    rows = [
        f"{PATIENTS[number % 2]},whole/{name},,,,,vqa,Is it?,yes,,"
        for number, name in enumerate(PLANTED)
        if name != "aperio-scale.svs"
    ]
    rows += [
        f"{PATIENTS[1]},{WORDS[1]}.svs,,,,,vqa,Is it?,yes,,",
        f"{PATIENTS[0]},whole/aperio.svs,,,,,?,?,?,,",
    ]
    (folder / "labels.csv").write_text("\n".join((",".join(COLUMNS), *rows)) + "\n")
    return folder


def _torn(data: bytes) -> bytes:
    middle = len(data) // 3
    return data[:middle] + b"\x55" * 4000 + data[middle + 4000 :]


def hospital(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from client.cli import app; app()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=600, env={**os.environ, "COLUMNS": "400"})


def search(where: str, data: bytes, words: tuple[str, ...] = HIDDEN) -> None:
    for word in words:
        for spelt in (word.encode(), word.encode("utf-16-le"), word.encode().hex().encode()):
            assert spelt not in data, f"{word} in {where}"


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_slides_are_slides_of_their_vendors_with_much_to_leak(planted: Path, name: str) -> None:
    """Catches a test that looks for what was never there, or in files that no reader opens."""
    path = planted / "slides" / "whole" / name
    assert openslide.OpenSlide.detect_format(path) == PLANTED[name][0]
    with openslide.OpenSlide(path) as handle:
        values = list(handle.properties.values())
        assert all(any(word in value for value in values) for word in WORDS)
        assert sum(any(word in value for word in WORDS) for value in values) >= 8
    assert all(word.encode() in path.read_bytes() for word in WORDS)


def test_no_output_of_index_and_check_holds_an_identifier(planted: Path, tmp_path: Path) -> None:
    """Catches a property, a tag, a reader's own error text, a decoder's warning or a patient's key in the catalogue, in
    SQLite's log, on the terminal, in JSON, or in any other file of the home.
    """
    home = create(tmp_path / "home", Settings("north", planted / "slides", planted / "labels.csv", tmp_path))
    told = {
        "index before init": hospital(
            "index", planted / "slides", "--manifest", planted / "labels.csv", "--home", tmp_path / "other"
        ),
        "index": hospital("index", home.folder),
        "index --json": hospital("index", home.folder, "--json"),
        "check": hospital("check", home.folder),
        "check --json": hospital("check", home.folder, "--json"),
    }
    slides = {slide["name"]: slide for slide in json.loads(told["index --json"].stdout)["slides"]}
    for name, (vendor, _) in PLANTED.items():
        assert slides[f"whole/{name}"]["vendor"] == vendor
        assert slides[f"cut/{name}"]["reason"] is not None
        assert slides[f"whole/{name}"]["reason"] == ("no-mpp" if name == "aperio-scale.svs" else None)
    assert slides["whole/aperio-power.svs"]["objective"] is None
    assert slides["whole/aperio.svs"]["patient"] is not None
    assert (
        slides["whole/dicom-1.dcm"]["part_of"] == "whole/dicom-1.dcm" or slides["whole/dicom.dcm"]["part_of"]
    )
    problems = json.loads(told["check --json"].stdout)["problems"]
    assert {"manifest-slide", "manifest-task"} <= {problem["code"] for problem in problems}
    with open_catalogue(home.catalogue) as catalogue:  # its log is written too, and lies beside it
        catalogue.put(catalogue.entries().values())
        files = {path: path.read_bytes() for path in home.folder.rglob("*") if path.is_file()}
        assert {path.name for path in files} >= {"catalogue.db", "catalogue.db-wal"}
    for path, data in files.items():
        search(str(path), data, (*HIDDEN, *PATIENTS))
    for command, done in told.items():
        # what a manifest's cell says is quoted to whoever mends it, here the name of a slide that is not there
        words = tuple(word for word in HIDDEN if word != WORDS[1]) if "check" in command else HIDDEN
        search(f"stdout of {command}", done.stdout, (*words, *PATIENTS))
        search(f"stderr of {command}", done.stderr, (*words, *PATIENTS))


AGENT = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.DEBUG)
from client.data import open_data, open_slides
from client.errors import ManifestError
from client.opening import told
from client.home import Home
from client.slides.index import Looking
home = Home(Path(sys.argv[1]))
index = open_slides(home, Looking(tell=told()))
for error in index.skipped.values():
    print(error, file=sys.stderr)
try:
    open_data(home)
except ManifestError as error:
    print(error, file=sys.stderr)
else:
    raise SystemExit("the manifest should have been refused")
"""


def test_what_an_agent_writes_in_its_log_when_it_opens_its_data_holds_none(
    planted: Path, tmp_path: Path
) -> None:
    """Catches a decoder that writes to the standard error it was born with, and a refused manifest's cells in a log."""
    home = create(tmp_path / "home", Settings("north", planted / "slides", planted / "labels.csv", tmp_path))
    policy = home.folder / "policy.toml"
    assert "skip_bad_rows" not in policy.read_text()
    done = subprocess.run([sys.executable, "-c", AGENT, str(home.folder)], capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert b"agent-opening" in done.stderr
    search("the log", done.stdout + done.stderr, (*HIDDEN, *PATIENTS))

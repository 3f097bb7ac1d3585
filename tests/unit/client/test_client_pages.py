"""Commands that docs/cli.md, docs/ledger.md, docs/secagg.md and docs/howto/import-labels.md show, done as they say."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.home import Home
from client.slides.index import index_slides
from privacy import keys
from tests.documented import ROOT, Command, claim
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]
LEDGER = claim("docs/ledger.md")
PEERS = claim("docs/secagg.md")
ANSWERS = claim("docs/cli.md", "fedpath-hospital", without=("fedpath-hospital --",))
IMPORTS = claim("docs/howto/import-labels.md")


def do(command: Command, places: Mapping[str, str]) -> str:
    """Run a command in this process, with `places` for some of its words, and what is echoed into it; what it printed."""
    piped = re.match(r"echo (\S+) \|", command.text)
    typed = f"{places.get(piped[1], piped[1])}\n" if piped else None
    done = CliRunner().invoke(app, [places.get(word, word) for word in command.arguments], input=typed)
    assert done.exit_code == 0, f"{command}: {done.output}"
    return done.output


@pytest.fixture
def home(house: MakeHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A joined home; what a command writes beside it goes to a folder of its own."""
    made = house().home
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return made


def test_what_a_program_would_read(home: Home) -> None:
    """Catches a page whose commands find fault with a good home, or answer with something else than JSON."""
    said = [do(command, {"HOME": str(home.folder)}) for command in ANSWERS]
    assert "ready" in said[0]
    assert json.loads(said[1])["epsilon"] == 0.0


def test_a_patient_withdraws_a_key_is_replaced_and_the_ledger_exported(home: Home) -> None:
    """Catches a page whose command withdraws nobody, keeps the key, or writes no export."""
    with home.settings.manifest.open(encoding="utf-8") as labels:
        patient = next(csv.DictReader(labels))["patient"]
    before = keys.load(home.release_key).public
    for command in LEDGER:
        do(command, {"HOME": str(home.folder), "PATIENT": patient})
    assert (home.folder / "withdrawn.txt").read_text().split() == [patient]
    assert keys.load(home.release_key).public != before
    kinds = {json.loads(line).get("kind") for line in Path("ledger.jsonl").read_text().splitlines()}
    assert {"withdrawal", "rotation"} <= kinds


def test_another_hospitals_key_is_put_on_record(home: Home, tmp_path: Path) -> None:
    """Catches a page whose command leaves nobody on record."""
    key = keys.generate(tmp_path / "south.key")
    Path("south.pub").write_bytes(keys.public_path(tmp_path / "south.key").read_bytes())
    told = [do(command, {"HOME": str(home.folder)}) for command in PEERS]
    assert f"south: {key.public.fingerprint}" in told[1]


@pytest.fixture
def labels(home: Home) -> Home:
    """A department's labels in each of the three forms, and the files that the page shows."""
    slide, seen = next(iter(index_slides(home.settings.slides).slides.items()))
    images = [{"id": 1, "file_name": slide, "width": seen.width, "height": seen.height}]
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 60, 50]}]
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "gland"}]}
    Path("labels.json").write_text(json.dumps(coco))
    Path("whose.csv").write_text(f"slide,patient\n{slide},p-1\n")
    ring = [[0, 0], [200, 0], [200, 200], [0, 200], [0, 0]]
    Path("GEOJSON").mkdir()
    objects = {
        "type": "FeatureCollection",
        "features": [feature("Region*", ring), feature("gland", ring[:3] + ring[:1])],
    }
    Path("GEOJSON", f"{slide}.geojson").write_text(json.dumps(objects))
    mapping = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/howto/import-labels.md").read_text(), re.DOTALL)[
        1
    ]
    Path("mapping.toml").write_text(mapping)
    Path("labels.csv").write_text(f"File,Case,Diagnosis,Note\n{slide},p-1,CA,pale\n")
    return home


def feature(name: str, ring: list[list[int]]) -> dict[str, object]:
    """An annotation as QuPath exports it."""
    geometry = {"type": "Polygon", "coordinates": [ring]}
    told = {"objectType": "annotation", "classification": {"name": name}}
    return {"type": "Feature", "geometry": geometry, "properties": told}


@pytest.mark.parametrize("command", IMPORTS, ids=lambda command: command.words[2])
def test_labels_become_a_manifest(command: Command, labels: Home) -> None:
    """Catches a page whose command is refused, or writes nothing that can be read."""
    pattern = {"^(TCGA-..-....)": "^(.).*"}  # of drawn slides' names
    do(command, {"SLIDES": str(labels.settings.slides), **pattern})
    assert len(Path("manifest.csv").read_text().splitlines()) > 1

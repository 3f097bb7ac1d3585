"""Both real slides, the whole way: index, tissue, features, and `fedpath-hospital ask` as a process of its own, with the
embedded base.  docs/howto/evaluate.md shows the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from client.errors import MissingMppError
from client.home import Home
from client.model.base import Base
from client.model.experts import attach
from client.model.slide_features import SlideFeatures
from client.slides.index import index_slides
from client.slides.slide import Slide, open_slide
from client.slides.tiles import Tile, tissue_tiles
from privacy import durable, keys, tensors
from privacy.evaluation import Evaluation
from privacy.expert_folder import write_experts
from privacy.experts import EXPERTS, same_form
from tests.enrolment_cases import invitation, kit

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "client" / "model" / "embedded"
CMU, TCGA = "CMU-1-Small-Region.svs", "tcga-cr-7395-01a-01-ts1.svs"
SEED = 3


@dataclass(frozen=True)
class Real:
    """A real slide: its size and pixel, and whether the file states it."""

    name: str
    size: tuple[int, int]
    mpp: float
    stated: bool
    region: str

    @property
    def given(self) -> tuple[str, ...]:
        return () if self.stated else ("--mpp", str(self.mpp))


SLIDES = (
    Real(CMU, (2220, 2967), 0.499, True, "600,700,512,384"),
    Real(TCGA, (4443, 3567), 0.25, False, "1000,1200,512,384"),
)


def hospital(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`fedpath-hospital`, by its real entry."""
    command = [sys.executable, "-c", "from client.cli import app; app()", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def told(*arguments: object) -> dict[str, Any]:
    done = hospital(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


@pytest.fixture(scope="module")
def base() -> Base:
    return Base.load(EMBEDDED)


@pytest.fixture
def home(tmp_path: Path, shared_slides: Path, base: Base) -> Home:
    """A hospital with both slides, one question and the experts' public start, made by its own commands."""
    slides = tmp_path / "slides"
    slides.mkdir()
    for slide in SLIDES:
        shutil.copy(shared_slides / slide.name, slides)
    header = "patient,slide,x,y,width,height,task,question,answer,boxes,polygons\n"
    manifest = tmp_path / "labels.csv"
    manifest.write_text(f"{header}p1,{CMU},,,,,vqa,Is there fat?,no,,\n")
    coordinator = keys.generate(tmp_path / "coordinator.key")
    invited = tmp_path / "invitation.json"
    durable.replace(invited, invitation("north", coordinator.public).to_bytes())
    settings = ("--invitation", invited, "--slides", slides, "--manifest", manifest, "--base", EMBEDDED)
    done = hospital("init", tmp_path / "home", *settings)
    assert done.returncode == 0, done.stderr
    home = Home(tmp_path / "home")
    (tmp_path / "kit.json").write_bytes(kit("north", keys.load(home.release_key).public).seal(coordinator))
    done = hospital("join", home.folder, tmp_path / "kit.json")
    assert done.returncode == 0, done.stderr
    experts = attach(base, same_form(EXPERTS, 2, 4.0), SEED)
    states = {name: tensors.encode(experts.initial(name)) for name in EXPERTS}
    hashes = {name: tensors.digest(state) for name, state in states.items()}
    which = Evaluation("sft", base.hash, hashes, same_form(EXPERTS, 2, 4.0), SEED)
    write_experts(home.experts, which, states)
    return home


def test_a_region_and_the_whole_of_each_slide_are_answered(home: Home, tmp_path: Path) -> None:
    """Catches what in-process tests and drawn slides don't show: an entry that needs more than its own imports, real
    scanners' tiles, a drawing of another place.
    """
    checked = told("check", home.folder)
    assert checked["problems"] == []
    told_of = {note["code"]: note["where"] for note in checked["notes"]}
    assert told_of["no-mpp"] == f"slide {TCGA}", "a slide without mpp is left out by name"
    for slide in SLIDES:
        about = (home.folder, slide.name, *slide.given)
        whole = told("ask", *about[:2], "Is there fat?", "--task", "vqa", *slide.given)
        assert whole["asked"]["region"] is None
        assert whole["experts"] == {"scale/wsi": 1.0, "task/vqa": 1.0}
        assert whole["answer"]
        drawing = tmp_path / f"{slide.name}.png"
        wanted = ("--task", "detection", "--region", slide.region, "--draw", drawing, *slide.given)
        boxed = told("ask", *about[:2], "Box every gland.", *wanted)
        assert boxed["experts"] == {"scale/roi": 1.0, "task/detection": 1.0}
        assert boxed["answer"] is not None, boxed["said"]
        x, y, width, height = map(int, slide.region.split(","))
        for shape in boxed["shapes"]:
            x1, y1, x2, y2 = shape["box"]
            assert x <= x1 < x2 <= x + width
            assert y <= y1 < y2 <= y + height
        with Image.open(drawing) as picture:
            assert picture.width * height == picture.height * width
            assert np.asarray(picture.convert("L")).std() > 5, "tissue, not glass"
        assert drawing.stat().st_mode & 0o777 == 0o600
    assert len(list(home.features.glob("*.features"))) >= 2 * len(SLIDES)


def test_a_slide_without_a_scale_serves_once_mpp_csv_states_it(home: Home) -> None:
    """Catches a stated scale that `ask` alone would take: the slide must be indexed, its features be encoded, and questions
    about it be read from the manifest.
    """
    (home.settings.manifest.parent / "mpp.csv").write_text(f"slide,mpp\n{TCGA},0.25\n")
    with home.settings.manifest.open("a") as manifest:
        manifest.write(
            f"p2,{TCGA},1000,1200,512,384,vqa,Is there fat?,yes,,\np2,{TCGA},,,,,vqa,Is there fat?,no,,\n"
        )
    indexed = told("index", home.folder)
    assert indexed["can_serve"] == len(SLIDES)
    assert {slide["name"]: slide["mpp"] for slide in indexed["slides"]} == {
        slide.name: pytest.approx(slide.mpp) for slide in SLIDES
    }
    encoded = told("features", home.folder)
    assert encoded["slides"] == {"encoded": 2, "from_cache": 0}
    assert encoded["regions"] == {"encoded": 1, "from_cache": 0}
    assert not encoded["failed"]
    assert not encoded["unreadable"]
    checked = told("check", home.folder)
    assert checked["problems"] == []
    assert "no-mpp" not in {note["code"] for note in checked["notes"]}
    assert told("ask", home.folder, TCGA, "Is there fat?", "--task", "vqa")["answer"]


def test_tissue_and_features_of_each_slide(home: Home, base: Base, tmp_path: Path) -> None:
    """Catches glass that is read as tissue, tissue that is left out, and features that say nothing of the slide."""
    index = index_slides(home.settings.slides)
    assert set(index.slides) == {CMU}
    assert isinstance(index.skipped[TCGA], MissingMppError)
    features = SlideFeatures(base, tmp_path / "features")
    kinds = []
    for slide in SLIDES:
        path = home.settings.slides / slide.name
        with open_slide(path, None if slide.stated else slide.mpp) as reader:
            found = reader.slide
            tiles = tissue_tiles(reader, base.scales.wsi_mpp, base.scales.roi_pixels)
            every = grid(found, tiles[0].width)
            glass = [tile for tile in every if tile not in tiles]
            stain = [chroma(reader.read(t.x, t.y, t.width, t.height, base.scales.wsi_mpp)) for t in tiles]
            clear = [chroma(reader.read(t.x, t.y, t.width, t.height, base.scales.wsi_mpp)) for t in glass]
        assert (found.width, found.height) == slide.size
        assert found.mpp == pytest.approx(slide.mpp)
        assert len(tiles) >= len(every) // 4
        assert not clear or np.mean(clear) < np.mean(stain)
        tokens = features.load(found).tokens
        assert tokens.shape == (len(tiles), base.width)
        assert tokens.isfinite().all()
        assert tokens.std(0).mean() > 0, "tiles differ"
        assert features.load(found).tokens.equal(tokens), "and the cache gives the same"
        kinds.append(tokens.mean(0))
    assert not kinds[0].allclose(kinds[1], atol=1e-2), "so do slides"


def grid(slide: Slide, side: int) -> list[Tile]:
    """All tiles, tissue or not."""
    return [Tile(x, y, side, side) for y in range(0, slide.height, side) for x in range(0, slide.width, side)]


def chroma(image: np.ndarray) -> float:
    """Mean distance of a picture's colours from grey."""
    return float(np.ptp(image.astype(float), axis=2).mean())

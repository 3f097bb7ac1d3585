"""The feature pass: resumed after a real kill, overlapping, past bad tiles and slides; the same features to the bit."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from client.cli import app
from client.errors import SlideError
from client.home import Home, Settings, create
from client.model import slide_features
from client.model.base import Base
from client.model.feature_pass import Tally, Work, encode_all, work_of
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.model.visual import Visual, encode_images
from client.slides.fingerprint import COVERED, fingerprint
from client.slides.index import index_slides
from client.slides.slide import Slide, open_slide
from client.tasks.sample import Label, Region, Sample
from tests.aperio import write_slide
from tests.damaged import scramble

ROOT = Path(__file__).parents[3]
SIDE = 3072  # at 0.5 microns; tiles of 128 microns: 12 x 12, or 4 and a half batches
BATCHES, TILES = 5, 144


def tissue(seed: int, side: int = SIDE) -> np.ndarray:
    random = np.random.default_rng(seed)
    image = np.kron(random.integers(60, 200, (side // 32, side // 32, 3)), np.ones((32, 32, 1))).astype(
        np.uint8
    )
    image[..., 1] //= 2
    return image


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    write_slide(folder / "a.svs", tissue(1))
    write_slide(folder / "b.svs", tissue(2, 768))
    return folder


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> Base:
    return Base.load(tiny_base)


@pytest.fixture
def home(tmp_path: Path, tiny_base: Path, slides: Path) -> Home:
    """A hospital that asks about both slides, and about two regions of one."""
    lines = ["patient,slide,x,y,width,height,task,question,answer,boxes,polygons"]
    lines += [f"p{name},{name}.svs,,,,,vqa,Is there fat?,no,," for name in "ab"]
    lines += [f"pb,b.svs,{x},64,128,128,classification,Which?,fat,," for x in (0, 300, 0)]
    manifest = tmp_path / "labels.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return create(tmp_path / "home", Settings("north", slides, manifest, tiny_base))


def run(home: Home, last: int = 0) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; it dies when batch `last` comes."""
    command = [sys.executable, "tests/unit/model/feature_child.py", str(home.folder), str(last)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def opened(path: Path) -> Slide:
    with open_slide(path) as reader:
        return reader.slide


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches that go through the tower from now on."""
    seen: list[int] = []

    def watch(base: Base, pictures: Sequence[np.ndarray]) -> list[Visual]:
        seen.append(len(pictures))
        return encode_images(base, pictures)

    monkeypatch.setattr(slide_features, "encode_images", watch)
    return seen


def same(a: Visual, b: Visual) -> bool:
    return torch.equal(a.tokens, b.tokens) and all(map(torch.equal, a.deepstack, b.deepstack))


def test_a_killed_pass_goes_on_from_its_last_batch(
    home: Home, base: Base, tmp_path: Path, slides: Path
) -> None:
    """Catches work done twice after a kill in the middle of a slide, and features that depend on where that was: the
    process is killed with SIGKILL, twice, and the whole is compared with a pass that nobody disturbed."""
    for last in (3, 2):  # two batches; then one more
        assert run(home, last).returncode == -signal.SIGKILL
    done = run(home)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["tiles"] == {"encoded": TILES - 96 + 9, "from_cache": 96}
    assert told["slides"] == {"encoded": 2, "from_cache": 0}
    assert told["regions"] == {"encoded": 2, "from_cache": 0}
    assert (told["failed"], told["unreadable"]) == ({}, {})
    assert told["tiles_per_second"] > 0
    resumed, undisturbed = SlideFeatures(base, home.features), SlideFeatures(base, tmp_path / "undisturbed")
    slide = opened(slides / "a.svs")
    assert resumed.has(slide)
    assert torch.equal(resumed.grid(slide).tokens, undisturbed.grid(slide).tokens)
    assert same(resumed.load(slide), undisturbed.load(slide))
    left = list((home.features / "grids").glob("*.features"))
    assert len(left) == 2, "batches that went into a grid stay behind"
    again = json.loads(run(home, last=1).stdout)
    assert (again["slides"], again["regions"]) == (
        {"encoded": 0, "from_cache": 2},
        {"encoded": 0, "from_cache": 2},
    )


@pytest.mark.parametrize("stop", range(1, BATCHES))
def test_batches_are_the_same_wherever_a_slide_was_stopped(
    base: Base, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Catches a batch that begins where the last run ended: who is in it changes a tile's last bits."""
    slide, features = opened(slides / "a.svs"), SlideFeatures(base, tmp_path / "f")
    seen = counted(monkeypatch)

    def stopping(encoded: int, kept: int, of: int) -> None:
        if len(seen) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features.encode(features.cut(slide), stopping)
    grid = SlideFeatures(base, tmp_path / "f").grid(slide)
    assert seen == [32, 32, 32, 32, 16]
    assert grid.cells.tolist() == [[row, column] for row in range(12) for column in range(12)]


def test_another_pooling_needs_no_new_pass(
    base: Base, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches slides encoded again because the number of tokens changed, and pooled tokens of the old number."""
    slide = opened(slides / "a.svs")
    SlideFeatures(base, tmp_path / "f").load(slide)
    seen = counted(monkeypatch)
    for most, tokens in ((144, 144), (36, 36), (143, 36), (9, 9)):
        other = replace(base, scales=replace(base.scales, wsi_max_tokens=most))
        assert len(SlideFeatures(other, tmp_path / "f").load(slide).tokens) == tokens
    assert seen == []


def scaled(base: Base, **scales: Any) -> Base:
    return replace(base, scales=replace(base.scales, **scales))


def rounded(base: Base) -> Base:
    return replace(base, model=deepcopy(base.model).to(torch.bfloat16))


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda base: base, (True, True, True)),
        (lambda base: replace(base, hash="0" * 64), (False, False, False)),
        (rounded, (False, False, False)),
        (lambda base: scaled(base, wsi_mpp=1.0), (False, False, True)),
        (lambda base: scaled(base, roi_pixels=32), (False, False, False)),
        (lambda base: scaled(base, roi_mpp=2.0), (True, True, False)),
        (lambda base: scaled(base, wsi_max_tokens=4), (False, True, True)),
    ],
    ids=["the same", "hash", "precision", "wsi_mpp", "roi_pixels", "roi_mpp", "wsi_max_tokens"],
)
def test_what_another_base_made_is_not_found(
    base: Base, slides: Path, tmp_path: Path, change: Callable[[Base], Base], kept: tuple[bool, bool, bool]
) -> None:
    """Catches features of another encoder, precision, scale or size served as this base's: of a slide, of its grid and of
    a region; and what another base would make the same computed anew."""
    slide, region = opened(slides / "b.svs"), Region(0, 64, 128, 128)

    def found(base: Base, slide: Slide) -> tuple[bool, bool, bool]:
        features = SlideFeatures(base, tmp_path / "f")
        return (
            features.has(slide),
            features.kept_grid(slide) is not None,
            features.has_region(slide, region),
        )

    first = SlideFeatures(base, tmp_path / "f")
    first.load(slide)
    assert len(list(first.encode_regions(slide, [region]))) == 1
    assert found(change(base), slide) == kept
    assert found(change(base), replace(slide, mpp=2 * slide.mpp)) == (False, False, False)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda base: base, 32),
        (lambda base: scaled(base, wsi_mpp=4.0, roi_pixels=32), 0),
        (lambda base: replace(base, hash="0" * 64), 0),
    ],
    ids=["the same", "coarser", "hash"],
)
def test_a_batch_of_another_base_or_scale_is_no_part_of_a_slide(
    base: Base, slides: Path, tmp_path: Path, change: Callable[[Base], Base], kept: int
) -> None:
    """Catches a slide that goes on from tiles of the same places, seen at another scale or by another encoder."""
    slide = opened(slides / "a.svs")
    told: list[tuple[int, int]] = []

    def stopping(encoded: int, kept: int, of: int) -> None:
        told.append((encoded, kept))
        if len(told) == 2:
            raise KeyboardInterrupt

    for encoding, found in ((base, 0), (change(base), kept)):
        features = SlideFeatures(encoding, tmp_path / "f")
        cut = features.cut(slide)
        told.clear()
        with pytest.raises(KeyboardInterrupt):
            features.encode(cut, stopping)
        assert told == [(0, found), (32, 0)]


def test_a_pushed_out_grid_takes_nothing_along(
    base: Base, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a slide encoded anew in each epoch because its grid, which nobody needs, has left the cache."""
    slide = opened(slides / "a.svs")
    first = SlideFeatures(base, tmp_path / "f").load(slide)
    for path in (tmp_path / "f" / "grids").glob("*.features"):
        path.unlink()
    seen = counted(monkeypatch)
    assert same(SlideFeatures(base, tmp_path / "f").load(slide), first)
    assert seen == []


def test_a_bad_tile_is_left_out_and_named_and_tried_again(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a corrupt tile that costs its slide, one that nobody hears of, and a hole that is kept for good."""
    path = write_slide(tmp_path / "a.svs", tissue(1, 1536), downsamples=(2, 4, 16))
    good = path.read_bytes()
    scramble(path, 2, 15)  # of the level that tiles are read from: the overview has a coarser one
    slide, seen = opened(path), counted(monkeypatch)
    features = SlideFeatures(base, tmp_path / "f")
    told: list[Tally] = []
    with caplog.at_level(logging.WARNING):
        done = encode_all(features, [Work(slide, True, (Region(0, 0, 256, 256),))], told.append)
    bad = done.unreadable["a.svs"]
    assert 1 <= bad <= 4
    assert (done.slides_encoded, done.regions_encoded, done.failed) == (1, 1, {})
    assert f"{bad} of 36 tiles" in caplog.text
    assert "a.svs" not in caplog.text, "a file's name may be a person's"
    assert len(features.load(slide).tokens) == 36 - bad
    path.write_bytes(good)
    os.utime(path, ns=(1, 1))
    seen.clear()
    assert len(features.grid(opened(path)).tokens) == 36
    assert sum(seen) == 36, "another file"


def test_bad_slides_are_named_and_stop_nothing(base: Base, slides: Path, tmp_path: Path) -> None:
    """Catches a pass that ends at the first bad slide: one that vanished, one that is cut short, one of rubbish."""
    for name in "cdefg":
        (tmp_path / f"{name}.svs").write_bytes((slides / "b.svs").read_bytes())
    whole = [Work(opened(tmp_path / f"{name}.svs"), True, (Region(0, 0, 64, 64),)) for name in "cdefg"]
    (tmp_path / "c.svs").unlink()
    (tmp_path / "e.svs").write_bytes((tmp_path / "e.svs").read_bytes()[:20_000])
    (tmp_path / "g.svs").write_bytes(b"II*\0 and no more")
    done = encode_all(SlideFeatures(base, tmp_path / "f"), whole, lambda tally: None)
    assert done.failed == {"c.svs": "unreadable", "e.svs": "truncated", "g.svs": "truncated"}
    assert (done.slides_encoded, done.regions_encoded, done.finished) == (1, 1, 5)
    assert done.slides_kept == 1, "the same content under another name is the same slide"


def test_a_large_slide_that_was_mended_is_encoded_anew(base: Base, tmp_path: Path) -> None:
    """Catches features of tiles that a broken copy had, where its size and the blocks that a fingerprint reads are those
    of the good one."""
    path = write_slide(
        tmp_path / "a.svs", np.random.default_rng(1).integers(0, 255, (2600, 2600, 3), np.uint8)
    )
    assert path.stat().st_size > 1.5 * COVERED
    slide, features = opened(path), SlideFeatures(base, tmp_path / "f")
    first, before = features._region_key(slide, Region(0, 0, 64, 64)), fingerprint(path)
    with path.open("r+b") as file:
        file.seek((path.stat().st_size - (1 << 16)) // 63 - 1000)  # between the first two blocks
        file.write(bytes(range(100)))
    assert fingerprint(path) == before
    assert features._region_key(slide, Region(0, 0, 64, 64)) != first
    again = SlideFeatures(base, tmp_path / "f")
    assert again._region_key(slide, Region(0, 0, 64, 64)) != first, "in another process too"


def test_nothing_of_two_files_is_kept_as_one(
    base: Base, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a file that is replaced while it is read: its tiles would be kept as the old one's."""
    path = tmp_path / "a.svs"
    path.write_bytes((slides / "a.svs").read_bytes())
    slide, features = opened(path), SlideFeatures(base, tmp_path / "f")

    def replaced(base: Base, pictures: Sequence[np.ndarray]) -> list[Visual]:
        path.write_bytes((slides / "b.svs").read_bytes())
        return encode_images(base, pictures)

    monkeypatch.setattr(slide_features, "encode_images", replaced)
    with pytest.raises(SlideError):
        features.grid(slide)
    assert list((tmp_path / "f").rglob("*.features")) == []


def test_the_pass_makes_what_training_looks_up(
    base: Base, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches features encoded ahead under a name that nobody asks for, regions encoded twice or in a batch, and a
    region that is asked about without the whole."""
    index = index_slides(slides).slides
    regions = [Region(300, 64, 128, 128), Region(0, 64, 128, 128), None, Region(0, 64, 128, 128)]
    samples = [Sample("p", "b.svs", region, "classification", "Which?", Label("fat")) for region in regions]
    work = work_of(samples, index)
    assert [(w.slide.name, w.whole, [r.x for r in w.regions]) for w in work] == [("b.svs", True, [0, 300])]
    features = SlideFeatures(base, tmp_path / "f")
    encode_all(features, work, lambda tally: None)
    seen = counted(monkeypatch)
    visuals = InputLoader(index, features)(samples)
    assert seen == []
    assert [visual.scale for visual in visuals] == ["roi", "roi", "wsi", "roi"]
    fresh = InputLoader(index, SlideFeatures(base, tmp_path / "g"))(samples)
    assert all(map(same, visuals, fresh))
    assert seen == [9, 1, 1]


def test_the_command_tells_in_words_and_leaves_out_who_withdrew(
    home: Home, slides: Path, tmp_path: Path
) -> None:
    """Catches slides of patients who withdrew, bad slides that go unsaid, and words that a terminal takes for orders."""
    folder = tmp_path / "more"
    folder.mkdir()
    for name in "ab":
        shutil.copy(slides / f"{name}.svs", folder)
    (folder / "x\x1b[2J.svs").write_bytes(b"")
    text = (home.folder / "hospital.toml").read_text()
    (home.folder / "hospital.toml").write_text(text.replace(str(slides), str(folder)))
    home.withdrawn.write_text("pa\n")
    done = CliRunner().invoke(app, ["features", str(home.folder)])
    assert done.exit_code == 0, done.output
    assert "1 slides encoded (9 tiles;" in done.output
    assert "2 regions encoded, 0 from the cache" in done.output
    assert "left out: slide x\\x1b[2J.svs (empty)" in done.output
    assert "\x1b[2J" not in done.output

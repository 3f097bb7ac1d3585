"""`fedpath-hospital slide show`: what the picture shows lies where it is, and nothing that tells whose slide it is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import tests.aperio
from client.cli import app
from client.evaluation.slide_legend import Swatch, bar_length, legend, length
from client.evaluation.slide_picture import SIDE, marks_of
from client.home import Home, Settings, create
from client.tasks.sample import Boxes, Label, Region, Sample
from tests.aperio import IDENTIFIERS, write_slide
from tests.damaged import scramble
from tests.drawn_tissue import tissue

GLASS, EOSIN = (244, 243, 245), (214, 140, 190)
WIDTH, HEIGHT = 1600, 1200  # at 2 microns, as wide as the picture
HEADER = "patient,slide,x,y,width,height,task,question,answer,boxes,polygons"


@pytest.fixture
def home(tmp_path: Path, tiny_base: Path) -> Home:
    """A slide with tissue in one corner: tiles of 128 microns are 64 pixels. Two patients' questions."""
    slides = tmp_path / "slides"
    slides.mkdir()
    image = np.full((HEIGHT, WIDTH, 3), GLASS, np.uint8)
    image[128:640, 256:960] = EOSIN
    write_slide(slides / "one.svs", image, mpp=2.0)
    write_slide(slides / "two.svs", image[:200], mpp=2.0)
    rows = [
        HEADER,
        'p1,one.svs,300,200,400,300,detection,Box it.,,"[[400,300,500,400]]",',
        "p1,one.svs,300,200,400,300,classification,Which?,fat,,",
        'p2,two.svs,10,10,100,100,segmentation,Outline it.,,,"[[[20,20],[90,20],[90,90]]]"',
    ]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return create(tmp_path / "home", Settings("north", slides, tmp_path / "labels.csv", tiny_base))


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["slide", "show", *map(str, arguments)])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_everything_lies_where_it_is(home: Home, tmp_path: Path) -> None:
    """Catches swapped axes, a grid at another scale, annotations in the frame's coordinates, and a picture that does
    not say what it took."""
    out = tmp_path / "one.png"
    done = command(home.folder, "one.svs", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["tissue"] == pytest.approx(512 * 704 / (WIDTH * HEIGHT), abs=0.01)
    assert (told["tiles"], told["taken"]) == (25 * 19, 11 * 8)
    assert (told["questions"], told["regions"], told["note"], told["ink"]) == (2, 1, None, 0.0)
    assert out.stat().st_mode & 0o777 == 0o600
    seen = pixels(out)
    assert seen.shape[1] == SIDE
    assert HEIGHT < seen.shape[0] < HEIGHT + 200
    middle = seen[32 + 128 : 640 : 64, 32 + 704 : 960 : 64]  # of tiles with tissue beside the region
    assert np.abs(middle - EOSIN).max() < 12
    assert np.abs(seen[32 + 768 : HEIGHT : 64, 32::64] - 232).max() < 12, "what is not taken is faded"
    assert (seen[497, 305:690].sum(axis=1) < 60).mean() > 0.9, "the region's lower edge is black"
    assert (seen[205:490, 302].sum(axis=1) < 60).mean() > 0.9
    green = (seen[..., 1] > seen[..., 0] + 60) & (seen[..., 1] > seen[..., 2] + 60)
    rows, columns = np.nonzero(green[:HEIGHT])
    assert (rows.min(), rows.max()) == pytest.approx((300, 400), abs=4)
    assert (columns.min(), columns.max()) == pytest.approx((400, 500), abs=4)
    blue = (seen[..., 2] > seen[..., 0] + 100)[:HEIGHT]
    rows, columns = np.nonzero(blue)
    assert (rows.min(), rows.max()) == pytest.approx((128, 640), abs=10)
    assert (columns.min(), columns.max()) == pytest.approx((256, 960), abs=10)


def test_the_picture_tells_nothing_of_whose_slide_it_is(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a name, a label or a macro photograph in the picture: another file of another name with other identifiers
    and the same tissue has the same picture, to the byte."""
    image = np.full((300, 400, 3), GLASS, np.uint8)
    image[100:200, 100:300] = EOSIN
    write_slide(tmp_path / "DOE^JANE S23-0815.svs", image, mpp=2.0)
    monkeypatch.setattr(tests.aperio, "IDENTIFIERS", ("X99-1", "ROE^RICHARD", "2001-01-01", "SS1"))
    write_slide(tmp_path / "other.svs", image, mpp=2.0)
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    shown = command(home.folder, tmp_path / "DOE^JANE S23-0815.svs", "--out", first)
    command(home.folder, tmp_path / "other.svs", "--out", second)
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as picture:
        assert picture.info == {}
    assert not any(word in shown.output for word in IDENTIFIERS)


def test_a_slide_is_the_one_that_the_manifest_means(home: Home, tmp_path: Path) -> None:
    """Catches a slide of a subfolder that has no questions in the picture, and one shown at a scale that mpp.csv
    overrules: the person would check what the model does not see."""
    slides, labels = home.settings.slides, home.settings.manifest
    (slides / "2024").mkdir()
    (slides / "one.svs").rename(slides / "2024" / "one.svs")
    labels.write_text(labels.read_text().replace(",one.svs", ",2024/one.svs"))
    labels.with_name("mpp.csv").write_text("slide,mpp\n2024/,1.0\n")
    for number, name in enumerate(("2024/one.svs", "one.svs", slides / "2024" / "one.svs")):
        done = command(home.folder, name, "--out", tmp_path / f"{number}.png", "--json")
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert (told["questions"], told["regions"], told["note"]) == (2, 1, None)
        assert told["tiles"] == 13 * 10, "128 microns are 128 pixels"


def test_a_corrupt_tile_costs_no_picture(home: Home, tmp_path: Path) -> None:
    """Catches a slide that serves, and that nobody can look at."""
    path = write_slide(tmp_path / "bad.svs", tissue(1536), downsamples=())
    scramble(path, 0, 15)
    done = command(home.folder, path, "--out", tmp_path / "bad.png", "--json")
    assert done.exit_code == 0, done.output
    assert (pixels(tmp_path / "bad.png") < 200).any()


def test_who_withdrew_is_not_asked_about(home: Home, tmp_path: Path) -> None:
    """Catches questions about a patient who withdrew, drawn for all to see."""
    home.withdrawn.write_text("p1\n")
    told = json.loads(command(home.folder, "one.svs", "--out", tmp_path / "a.png", "--json").stdout)
    assert (told["questions"], told["regions"]) == (0, 0)


def test_a_broken_manifest_costs_the_annotations_alone(home: Home, tmp_path: Path) -> None:
    """Catches a slide that can't be looked at until all labels are mended, and labels that are missing without a word."""
    home.settings.manifest.write_text("nonsense\n")
    done = command(home.folder, "one.svs", "--out", tmp_path / "a.png")
    assert done.exit_code == 0
    assert "fedpath-hospital check" in done.output
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize("size", [(40, 3000), (3000, 40), (9, 7)])
def test_any_shape_of_slide_has_a_picture_of_bounded_size(
    home: Home, tmp_path: Path, size: tuple[int, int]
) -> None:
    """Catches a picture without a legend, of no height, or as large as the slide."""
    path = write_slide(tmp_path / "odd.svs", np.full((*size, 3), EOSIN, np.uint8), mpp=9.0, downsamples=())
    done = command(home.folder, path, "--out", tmp_path / "odd.png", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["note"]
    height, width, _ = pixels(tmp_path / "odd.png").shape
    assert 960 <= width <= SIDE
    assert 100 < height <= SIDE + 200


def test_what_can_not_be_done_is_said(home: Home, tmp_path: Path) -> None:
    """Catches a traceback for a wrong name, a slide without a scale, and a folder that is not there."""
    none = command(home.folder, "xyz.tif", "--out", tmp_path / "a.png")
    assert (none.exit_code, none.stderr) == (
        2,
        "error: unknown slide 'xyz.tif': give its name in the slide folder, or a path\n",
    )
    near = command(home.folder, "onee.svs", "--out", tmp_path / "a.png")
    assert near.stderr == "error: unknown slide 'onee.svs': is one.svs or two.svs meant?\n"
    path = write_slide(tmp_path / "bare.svs", np.full((64, 64, 3), EOSIN, np.uint8), mpp=None)
    assert "--mpp" in command(home.folder, path, "--out", tmp_path / "a.png").output
    assert command(home.folder, path, "--out", tmp_path / "a.png", "--mpp", 0.5).exit_code == 0
    gone = command(home.folder, "one.svs", "--out", tmp_path / "gone" / "a.png")
    assert (gone.exit_code, "name a file in a folder" in gone.output) == (2, True)


def test_a_region_is_one_mark_with_the_shapes_of_all_its_questions() -> None:
    """Catches a region drawn once a question, and words taken for shapes."""
    region = Region(0, 0, 100, 100)
    samples = [
        Sample("p", "a.svs", region, "classification", "Which?", Label("fat")),
        Sample("p", "a.svs", region, "detection", "Box it.", Boxes(())),
        Sample("p", "a.svs", None, "vqa", "Fat?", Label("no")),
    ]
    (mark,) = marks_of(samples)
    assert (mark.region, mark.boxes, mark.filled) == (region, (), ())


@pytest.mark.parametrize("most", [0.3, 1.0, 7.0, 9.99, 10.0, 49.0, 1234.0, 5e5])
def test_a_scale_is_a_round_length_that_fits(most: float) -> None:
    """Catches a bar that is wider than its place, and one that nobody can count with."""
    found = bar_length(most)
    assert most / 2.5 <= found <= most * (1 + 1e-6)
    first = found / 10 ** math.floor(math.log10(found) + 1e-9)
    assert round(first, 6) in (1, 2, 5)


def test_lengths_and_rows_of_a_legend() -> None:
    """Catches entries that run out of a narrow picture, and micrometres told as millimetres."""
    assert [length(x) for x in (128, 999, 1000, 12_345)] == ["128 um", "999 um", "1 mm", "12.3 mm"]
    entries = [Swatch("a rather long entry of a legend", fill=(1, 2, 3))] * 6
    assert legend(2000, 1.0, "facts", entries[:1]).size == (2000, 130)
    assert legend(960, 1.0, "facts", entries).height > 130

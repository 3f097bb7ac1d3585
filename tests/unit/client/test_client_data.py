"""Slides in folders, stated scales and good rows, through everything that opens a hospital's data."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.data import open_data, open_slides
from client.errors import EmptySlideError, ManifestError, SlideError, SlideFolderError, told_of
from client.evaluation.ask import find_asked, open_asked
from client.evaluation.house import EvaluationError, open_questions
from client.home import Home, Settings, create
from client.imports.run import open_slides as slides_of_import
from client.model.base import Base
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.slides import index as index_module
from client.tasks.sample import Region, Sample, Text, without_slide
from client.tasks.segmenter import RegionMasks
from privacy import keys
from privacy.ledger.store import Ledger
from privacy.mechanism import Mechanism
from privacy.policy import Policy
from tests.aperio import picture, write_slide
from tests.unit.client.conftest import Fixed, House, ask

MakeHouse = Callable[..., House]
NAMES = ("DOE^JANE/S23-0815.svs", "DOE^JOHN/S23-0815.svs")


@pytest.fixture
def place(house: MakeHouse, data: Path, tmp_path: Path) -> House:
    """A house whose slides lie in folders named after people, the first two under one file name."""
    slides = tmp_path / "slides"
    manifest = tmp_path / "labels.csv"
    moved = {}
    for number, path in enumerate(sorted((data / "slides").iterdir())):
        name = NAMES[number] if number < 2 else f"more/{path.name}"
        (slides / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, slides / name)
        moved[path.name] = name
    with (data / "manifest.csv").open(newline="") as source, manifest.open("w", newline="") as out:
        rows = csv.DictReader(source)
        writer = csv.DictWriter(out, rows.fieldnames or ())
        writer.writeheader()
        writer.writerows({**row, "slide": moved[row["slide"]]} for row in rows)
    made = house(slides=slides)
    settings = made.home.folder / "hospital.toml"
    settings.write_text(settings.read_text().replace(str(made.home.settings.manifest), str(manifest)))
    return made


def test_one_of_two_slides_of_one_file_name_goes_bad_alone_and_nameless_in_the_log(
    place: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a round that never ends because the slide to leave out is not found, one that leaves out its namesake too,
    and a file name, which here is a person's, in a log that goes elsewhere.
    """
    caplog.set_level(logging.DEBUG)
    agent = place.agent(Fixed(1))
    assert set(NAMES) <= {sample.slide for sample in agent._data.samples}
    (place.home.settings.slides / NAMES[0]).write_bytes(b"")
    everyone = place.plan(mechanism=Mechanism(1.0, 1.0, 0.8, 4, 4))
    reply = ask(agent, "train", place.request(everyone))
    assert "release/scale/roi" in reply
    assert agent.progress.snapshot()["skipped"] == {NAMES[0]: "empty"}, "local IT is told by name"
    left = {sample.slide for sample in agent._data.samples}
    assert NAMES[0] not in left
    assert NAMES[1] in left
    key = open_slides(place.home).keys[NAMES[0]]
    assert f"slide {key} is skipped from now on: empty" in caplog.text
    for word in ("DOE", "JANE", "S23-0815"):
        assert word not in caplog.text
        assert not any(word.encode() in part for part in reply.values())


def test_a_second_start_opens_nothing(place: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches minutes of looking at a network mount each time that anything opens the data."""
    first = open_data(place.home)

    def opened(*arguments: object) -> None:
        raise AssertionError("an examiner was started")

    monkeypatch.setattr(index_module, "Examiners", opened)
    assert open_data(place.home) == first
    place.agent()
    assert open_questions(place.home).slides == first.index.slides
    done = CliRunner().invoke(app, ["withdraw", str(place.home.folder)], input="nobody\n")
    assert done.exit_code == 0, done.output
    assert set(slides_of_import(place.home.folder, Path("out.csv")).slides) == set(first.index.slides)


def test_an_import_knows_slides_by_their_path_and_by_their_name(place: House, tmp_path: Path) -> None:
    """Catches one of two slides of a name that is guessed, and an export whose own folders hide its slides."""
    slides = slides_of_import(place.home.folder, tmp_path / "out.csv")
    other = next(name for name in slides.slides if name.startswith("more/"))
    for written in (other, Path(other).name, f"export\\{Path(other).name}", f"C:/x/{Path(other).stem}.png"):
        assert slides.find(written) == slides.slides[other]
    assert slides.find(NAMES[0]) == slides.slides[NAMES[0]]
    for written in ("S23-0815.svs", "S23-0815", "elsewhere/S23-0815.jpg"):
        assert "may be any of" in str(slides.find(written))


@pytest.fixture
def bare(tmp_path: Path) -> Home:
    """A home over two slides that state no scale, one of which `mpp.csv` gives."""
    slides = tmp_path / "slides"
    for name in ("x/bare.svs", "y/bare.svs", "y/one.svs"):
        (slides / name).parent.mkdir(parents=True, exist_ok=True)
        write_slide(slides / name, picture(120, 80), mpp=None, downsamples=())
    (tmp_path / "mpp.csv").write_text("slide,mpp\nx/,0.25\n")
    return create(tmp_path / "home", Settings("north", slides, tmp_path / "labels.csv", tmp_path))


def test_ask_finds_a_slide_by_name_path_or_file_and_takes_its_stated_scale(
    bare: Home, tmp_path: Path
) -> None:
    """Catches a scale that training knows and a question does not, and the wrong one of two slides answered."""
    slides = bare.settings.slides
    assert find_asked(bare, Path("x/bare.svs")) == (slides / "x/bare.svs", 0.25)
    assert find_asked(bare, slides / "x/bare.svs") == (slides / "x/bare.svs", 0.25)
    assert find_asked(bare, Path("one.svs")) == (slides / "y/one.svs", None)
    with pytest.raises(EvaluationError, match=r"may be any of x/bare\.svs, y/bare\.svs"):
        find_asked(bare, Path("bare.svs"))
    elsewhere = write_slide(tmp_path / "else.svs", picture(120, 80), downsamples=())
    assert find_asked(bare, elsewhere) == (elsewhere, None)
    (slides / "out.svs").symlink_to(elsewhere)
    with pytest.raises(SlideError, match="leads out of the slide folder"):
        find_asked(bare, Path("out.svs"))
    with pytest.raises(SlideError, match=r"none\.svs"):
        open_asked(*find_asked(bare, Path("none.svs")))


def test_what_reads_a_slide_reads_it_at_its_stated_scale_and_names_it_by_its_path(
    bare: Home, tiny_base: Path, tmp_path: Path
) -> None:
    """Catches a reader that opens the file anew, finds no scale in it, and takes a good slide for a bad one."""
    index = open_slides(bare)
    assert {name: slide.mpp for name, slide in index.slides.items()} == {"x/bare.svs": 0.25}
    slide = index.slides["x/bare.svs"]
    sample = Sample("p", slide.name, Region(0, 0, 64, 64), "vqa", "Is it?", Text("yes"))
    base = Base.load(tiny_base)
    inputs = InputLoader(index.slides, SlideFeatures(base, tmp_path / "features"))
    assert len(inputs([sample])) == 1

    class Seen:
        """A segmenter that looks and finds nothing."""

        def look(self, image: object) -> Seen:
            return self

    masks = RegionMasks(Seen(), index.slides)  # type: ignore[arg-type]
    masks._look(slide.name, Region(0, 0, 64, 64))
    slide.path.write_bytes(b"")
    whole = Sample("p", slide.name, None, "vqa", "Is it?", Text("yes"))
    for read in (lambda: inputs([whole]), lambda: masks._look(slide.name, Region(1, 1, 9, 9))):
        with pytest.raises(EmptySlideError) as caught:
            read()
        assert without_slide([sample, whole], caught.value) == ()


def test_leaving_out_a_slide_that_nothing_is_of_is_no_endless_loop() -> None:
    """Catches a round that tries again for ever, because the error names another slide than the samples do."""
    with pytest.raises(EmptySlideError), told_of("x/a.svs"):
        raise EmptySlideError("a.svs")
    with pytest.raises(EmptySlideError, match=r"a\.svs"):
        without_slide([], EmptySlideError("a.svs"))


def spoil(home: Home, *rows: str) -> None:
    manifest = home.settings.manifest
    manifest.write_text(manifest.read_text() + "".join(f"{row}\n" for row in rows))


def test_good_rows_are_used_only_if_the_policy_says_so(place: House) -> None:
    """Catches a manifest that is half read in silence, and a policy that no ledger knows of."""
    before = open_data(place.home).manifest
    first = before.samples[0]
    spoil(place.home, f"{first.patient},{first.slide},,,,,grade,Is it?,yes,,,")
    with pytest.raises(ManifestError, match="1 problem"):
        place.agent()
    policy = place.home.folder / "policy.toml"
    policy.write_text(policy.read_text() + "skip_bad_rows = true\n")
    agent = place.agent()
    assert agent._data.samples == before.samples
    assert agent.progress.snapshot()["rows_left_out"] == 1
    spoil(place.home, f"someone else,{first.slide},,,,,vqa,Is it?,yes,,,")
    agent = place.agent()
    assert first.patient not in {sample.patient for sample in agent._data.samples}, (
        "whose it is nobody can say"
    )
    assert len(open_questions(place.home).samples) == len(agent._data.samples) > 0
    recorded = [entry.body["policy"] for entry in place.ledger().entries() if entry.kind == "policy"]
    assert recorded[-1]["skip_bad_rows"] is True


def test_a_policy_from_before_is_read_as_it_was_meant(place: House) -> None:
    """Catches a ledger whose recorded policies can't be read any more, or mean something new."""
    fields = place.home.policy.to_dict()
    assert fields.pop("skip_bad_rows") is False
    old = Policy.from_dict(fields)
    assert old == place.home.policy
    ledger = Ledger(place.home.ledger, keys.load(place.home.release_key))
    ledger.adopt(old)
    assert json.loads(json.dumps(ledger.entries()[-1].body["policy"]))["hospital"] == "north"


def test_an_unmounted_folder_stops_the_agent_at_its_start(place: House) -> None:
    """Catches an agent that takes part without data, for good, because the mount came later."""
    open_slides(place.home)
    slides = place.home.settings.slides
    slides.rename(slides.with_name("away"))
    slides.mkdir()
    with pytest.raises(SlideFolderError, match="is it mounted"):
        place.agent()

"""`fedpath-hospital ask`: about a slide, a region or a plain image; of known physical scale, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from client.cli import app
from client.errors import CrashingSlideError, SlideError
from client.evaluation import ask as asks
from client.evaluation.ask import Asked, open_asked, region_of
from client.evaluation.house import EvaluationError, open_model
from client.home import Home
from client.model import router
from client.model.experts import Experts
from client.model.gates import Gates
from client.slides.slide import open_slide
from client.tasks.sample import Region
from privacy import tensors
from privacy.evaluation import Evaluation
from privacy.expert_folder import write_experts
from privacy.experts import EXPERTS, ROUTER, TASKS, same_form
from tests.aperio import picture, write_slide
from tests.unit.client.conftest import House


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["ask", *map(str, arguments)])


def receive(place: House, folder: Path, names: Sequence[str], *, routed: bool = True) -> None:
    """Let these experts have come, at their public start but for a router that is `routed`."""
    ((name, start),) = tensors.decode(place.states[ROUTER], 1 << 28).items()
    trained = np.random.default_rng(0).normal(size=start.shape).astype(np.float32)
    states = place.states | ({ROUTER: tensors.encode({name: trained})} if routed else {})
    hashes = {name: tensors.digest(states[name]) for name in names}
    write_experts(folder, Evaluation("sft", place.base_hash, hashes, same_form(names, 2, 4.0), 3), states)


def chooses(monkeypatch: pytest.MonkeyPatch, **gates: float) -> None:
    """Let the router give each question these gates."""
    weights = torch.tensor([[gates.get(task, 0.0) for task in TASKS]])
    monkeypatch.setattr(asks.router, "gates_for", lambda experts, queries, most: Gates(tuple(TASKS), weights))


@pytest.fixture(scope="module")
def place(shared_house: Callable[..., House]) -> House:
    return shared_house()


@pytest.fixture(scope="module")
def home(place: House) -> Home:
    """A home that has received all experts, the router trained."""
    receive(place, place.home.experts, EXPERTS)
    return place.home


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(picture(200, 100)).save(path)
    return path


def answers_with(monkeypatch: pytest.MonkeyPatch, text: str) -> list[tuple[str, ...]]:
    """Let the model say `text`; returns the experts that were active each time."""
    active: list[tuple[str, ...]] = []

    def say(experts: Experts, queries: object, most: int, end: int) -> list[list[int]]:
        active.append(experts.active)
        return [experts.prompts.answer(text)]

    monkeypatch.setattr(asks.rollout, "greedy", say)
    return active


def test_a_region_is_answered_in_level_0_pixels_and_drawn(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches boxes left in the frame, a wrong expert, and a drawing of something else."""
    slide = sorted(home.settings.slides.iterdir())[0]
    active = answers_with(monkeypatch, "<bbox>[100,250,500,750]</bbox>")
    drawing = tmp_path / "drawn.png"
    arguments = (home.folder, slide.name, "Box it.", "--task", "detection", "--region", "10,20,200,100")
    done = command(*arguments, "--draw", drawing, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    (shape,) = told["shapes"]
    assert shape["box"] == [30.0, 45.0, 110.0, 95.0]
    assert told["experts"] == {"scale/roi": 1.0, "task/detection": 1.0}
    assert active == [("scale/roi", "task/detection")]
    assert Image.open(drawing).size == (480, 240)
    assert drawing.stat().st_mode & 0o777 == 0o600
    assert "box 30, 45, 110, 95" in command(*arguments).output


@pytest.mark.parametrize(
    ("mode", "said", "answer", "thought"),
    [
        ("thinking", "<think>many cells</think><answer>tumour</answer>", "tumour", "many cells"),
        ("thinking", "tumour", None, None),
        ("direct", "tumour", "tumour", None),
    ],
)
def test_thoughts_are_told_apart_from_the_answer(
    home: Home, image: Path, monkeypatch: pytest.MonkeyPatch, mode: str, said: str, answer: str, thought: str
) -> None:
    """Catches a thought given for an answer, and one that shows though nobody asked."""
    answers_with(monkeypatch, said)
    arguments = (home.folder, image, "What?", "--task", "classification", "--mpp", 0.5, "--mode", mode)
    told = json.loads(command(*arguments, "--json").stdout)
    assert (told["answer"], told["thought"]) == (answer, thought)
    plain, shown = (command(*arguments, *more).output for more in ((), ("--thoughts",)))
    assert "thought" not in plain.replace("<think>", "")
    assert (f"thought: {thought}" in shown) == (thought is not None)


def test_a_whole_slide_is_asked_through_its_features(home: Home) -> None:
    """Catches a slide that is read as a region, with the real model."""
    slide = sorted(home.settings.slides.iterdir())[0]
    done = command(home.folder, slide, "Is there a tumour?", "--task", "vqa", "--json")
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["experts"]) == {"scale/wsi", "task/vqa"}
    assert any(home.features.iterdir())


def test_an_open_question_is_served_by_the_experts_that_the_router_chooses(
    home: Home, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a question without a task that is refused, served by all experts, or by gates that are not told."""
    active = answers_with(monkeypatch, "none")
    done = command(home.folder, image, "Where are they, and how many?", "--mpp", 0.5, "--json")
    assert done.exit_code == 0, done.output
    gates = json.loads(done.stdout)["experts"]
    assert gates.pop("scale/roi") == 1.0
    assert len(gates) == router.TOP_K
    assert sum(gates.values()) == pytest.approx(1.0)
    assert set(gates) < set(active[0])


def test_the_gates_told_are_those_of_experts_that_are_there(
    place: House, home: Home, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches experts that are told of though they never came, a declared task that is refused for want of its own, and
    an answer that is not read as that task's for it."""
    active = answers_with(monkeypatch, "<bbox>[100,250,500,750]</bbox>")
    chooses(monkeypatch, detection=0.7, vqa=0.3)
    receive(place, tmp_path / "sft", ("scale/roi", ROUTER))
    receive(place, tmp_path / "one", ("task/vqa", ROUTER))
    receive(place, tmp_path / "none", ())
    for folder, task, served in (
        ("sft", ("--task", "detection"), {"scale/roi": 1.0}),
        ("sft", (), {"scale/roi": 1.0}),
        ("one", ("--task", "detection"), {}),
        ("one", (), {"task/vqa": pytest.approx(0.3)}),
        ("none", ("--task", "detection"), {}),
    ):
        arguments = (home.folder, image, "Where?", *task, "--mpp", 0.5, "--experts", tmp_path / folder)
        done = command(*arguments, "--json")
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert told["experts"] == served
        assert set(active[-1]) >= set(served)
        assert [shape["box"] for shape in told["shapes"]] == [[20.0, 25.0, 100.0, 75.0]]
    assert "experts: none: the base alone" in command(*arguments).output


@pytest.mark.parametrize(
    "said", ["<bbox>[100,250,500,750]</bbox>", "<poly>[100,250,500,250,500,750]</poly>", "two"]
)
def test_an_answer_that_gives_shapes_is_read_for_them(
    home: Home, image: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """Catches shapes that are lost where the router gives most to a task that answers in words."""
    answers_with(monkeypatch, said)
    chooses(monkeypatch, vqa=0.6, segmentation=0.4)
    arguments = (home.folder, image, "Where are they, and how many?", "--mpp", 0.5)
    told = json.loads(command(*arguments, "--json", "--region", "0,0,200,100").stdout)
    assert [shape["box"] for shape in told["shapes"]] == [[20.0, 25.0, 100.0, 75.0]] * (said != "two")
    assert told["answer"] == said
    chooses(monkeypatch, vqa=0.6, classification=0.4)
    assert json.loads(command(*arguments, "--json").stdout)["shapes"] == []


@pytest.mark.parametrize("names", [("scale/roi", "task/vqa"), ("scale/roi", "task/vqa", ROUTER)], ids=len)
def test_an_open_question_needs_a_router_that_was_trained(
    place: House, home: Home, image: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Catches two experts that are taken because they come first: a router at its public start has no preference."""
    receive(place, tmp_path / "experts", names, routed=False)
    done = command(home.folder, image, "Where?", "--mpp", 0.5, "--experts", tmp_path / "experts")
    assert done.exit_code == 2
    assert "name a --task: classification, detection, segmentation, vqa" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "detection"), "can't be asked at scale wsi"),
        (("--task", "grading"), "can't be asked"),
        (("--region", "0,0,10"), "X,Y,W,H"),
        (("--region", "0,0,10,100000"), "must lie in"),
        (("--region", "-1,0,10,10"), "must lie in"),
        (("--task", "vqa", "--draw", "x.png"), "--draw needs a --region"),
        (("--task", "vqa", "--mpp", "0"), "--mpp 0"),
        (("--region", "0,0,64,64", "--draw", "no/folder/x.png"), "no/folder/x.png: No such file"),
    ],
    ids=str,
)
def test_what_can_not_be_asked_is_refused_in_words(
    home: Home, arguments: tuple[str, ...], words: str
) -> None:
    """Catches a traceback where a sentence will do."""
    slide = sorted(home.settings.slides.iterdir())[0]
    done = command(home.folder, slide, "What is it?", *arguments)
    assert done.exit_code == 2, done.output
    assert words in done.output
    assert "the question is empty" in command(home.folder, slide, " ").output


@pytest.mark.parametrize("what", ["slide", "question", "task", "region"])
def test_what_is_not_utf8_is_refused_in_words(home: Home, image: Path, what: str) -> None:
    """Catches a traceback where a terminal, or another program, handed on bytes that are no text."""
    odd = "a\x1b[2J\udcff"
    about: dict[str, object] = {"slide": image, "question": "Is it?"} | {what: odd}
    options = [f"--{what}", odd] if what not in ("slide", "question") else []
    done = command(home.folder, about["slide"], about["question"], "--mpp", 0.5, *options)
    assert done.exit_code == 2, done.exception
    assert "error: " in done.output
    assert "\x1b" not in done.output


def test_what_the_model_says_moves_nothing_in_a_terminal(
    home: Home, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches text of a model, which may be anyone's, that clears the screen or turns the line's direction round."""
    arguments = (
        home.folder,
        image,
        "Is it?",
        "--task",
        "vqa",
        "--mpp",
        0.5,
        "--mode",
        "thinking",
        "--thoughts",
    )
    for said in ("<think>a\nb\x1b[2J</think><answer>no\u202e</answer>", "no\x1b[2J\u202e"):
        answers_with(monkeypatch, said)
        done = command(*arguments)
        assert done.exit_code == 0, done.output
        assert not {"\x1b", "\u202e"} & set(done.output)
        assert "\\x1b[2J" in done.output
        assert ("thought: a\nb" in done.output) == ("think" in said)


def test_the_scale_is_given_or_refused_and_never_guessed(tmp_path: Path, image: Path) -> None:
    """Catches an image that is taken at some default resolution, and an override that is not used."""
    bare = write_slide(tmp_path / "bare.svs", picture(256, 128), mpp=None)
    for path in (bare, image):
        with pytest.raises(EvaluationError, match="--mpp"):
            open_asked(path, None)
        assert open_asked(path, 0.25).mpp == 0.25
    stated = write_slide(tmp_path / "stated.svs", picture(256, 128), mpp=0.5)
    assert (open_asked(stated, None).mpp, open_asked(stated, 0.3).mpp) == (0.5, 0.3)


def test_a_file_that_kills_who_opens_it_is_opened_by_another_process_first(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a command that opens it itself beforehand."""

    def dies(path: Path) -> None:
        raise CrashingSlideError(path.name)

    monkeypatch.setattr("client.evaluation.ask.outlive", dies)
    monkeypatch.setattr("client.evaluation.ask.open_slide", None)
    with pytest.raises(CrashingSlideError):
        open_asked(image, 0.5)


def test_a_plain_image_is_a_slide_of_one_level(image: Path) -> None:
    """Catches pixels in another order, and a broken image that raises something else than our errors."""
    with open_slide(image, 0.5) as reader:
        assert np.array_equal(reader.read(20, 10, 100, 50, 0.5), picture(200, 100)[10:60, 20:120])
        assert reader.read(0, 0, 200, 100, 1.0).shape == (50, 100, 3)
        assert region_of(reader.slide, None) == Region(0, 0, 200, 100)
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(SlideError):
        open_asked(image, 0.5)
    image.write_bytes(b"not an image")
    with pytest.raises(SlideError):
        open_asked(image, 0.5)


def test_features_of_one_slide_at_two_scales_are_kept_apart(home: Home, tmp_path: Path) -> None:
    """Catches a cache that gives one stated pixel size the features of another."""
    bare = write_slide(tmp_path / "bare.svs", picture(256, 128), mpp=None)
    experts = open_model(home, None).experts
    held = tmp_path / "features"
    for mpp in (0.5, 1.0, 0.5):
        asks.ask(experts, open_asked(bare, mpp), Asked(bare.name, None, "vqa", "Fat?"), held, "direct", 8)
    assert len(list(held.glob("*.features"))) == 2

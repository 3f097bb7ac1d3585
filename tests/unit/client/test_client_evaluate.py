"""Local evaluation: the evaluator's own figures on private patients, resumable, for this user's eyes alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.evaluation.answers import Asking
from client.evaluation.examples import examples
from client.evaluation.house import Model, Questions, open_model, open_questions
from client.evaluation.kept import FILE, KeptAnswers
from client.evaluation.page import html
from client.evaluation.run import Report, run
from client.evaluation.scores import scores
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.tasks.sample import Label, Region, Sample
from client.training import memory, rollout
from client.withdrawn import add_withdrawn
from privacy import canonical, tensors
from privacy.evaluation import Evaluation
from privacy.expert_folder import read_experts, write_experts
from privacy.experts import same_form
from tests.unit.client.conftest import SFT, House, ask, spoilt

MakeHouse = Callable[..., House]
MOST = 24


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def received(place: House) -> Evaluation:
    """Put the scale experts into the home, as if they had come with a round."""
    hashes = {name: tensors.digest(place.states[name]) for name in SFT}
    which = Evaluation("sft", place.base_hash, hashes, same_form(SFT, 2, 4.0), 3)
    write_experts(place.home.experts, which, place.states)
    return which


def opened(place: House) -> tuple[Model, Questions]:
    return open_model(place.home, None), open_questions(place.home)


def evaluated(place: House, model: Model, questions: Questions, folder: Path, **extra: Any) -> Report:
    progress = extra.pop("progress", lambda done, of: None)
    asking = replace(Asking.of(model.which), most_tokens=MOST)
    inputs = InputLoader(questions.slides, SlideFeatures(model.experts.base, place.home.features))
    return run(model, questions, asking, folder, inputs, progress, None, **extra)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many questions each call of the model was asked; small batches, so that there are several."""
    calls: list[int] = []
    greedy = rollout.greedy

    def watch(experts: Any, queries: Any, *others: Any) -> Any:
        calls.append(len(queries))
        return greedy(experts, queries, *others)

    monkeypatch.setattr(rollout, "greedy", watch)
    monkeypatch.setattr(memory, "ROWS", (2,))
    return calls


def test_a_hospital_keeps_the_experts_that_it_was_sent_last(house: MakeHouse) -> None:
    """Catches experts that are gone after the round, and ones kept though they were refused."""
    place = house()
    agent, plan = place.agent(), place.plan()
    ask(agent, "train", place.request(plan))
    which, states = read_experts(place.home.experts)
    assert states == {name: place.states[name] for name in SFT}
    assert (which.stage, which.base_hash, which.expert_seed) == ("sft", place.base_hash, 3)
    bad = {**place.states, "scale/roi": spoilt(place.states["scale/roi"])}
    other = place.plan(2, experts_hash={name: tensors.digest(bad[name]) for name in SFT})
    parts = place.request(other) | {f"expert/{name}": bad[name] for name in SFT}
    assert set(ask(agent, "train", parts)) == {"code"}
    assert read_experts(place.home.experts) == (which, states)


def test_local_figures_are_what_the_evaluator_would_say_of_the_same_data(house: MakeHouse) -> None:
    """Catches other experts, another mode, and other questions than those that the agent answers."""
    place = house(public=True)
    which = received(place)
    parts = {"request": which.to_bytes()} | {f"expert/{name}": place.states[name] for name in SFT}
    rows = canonical.decode(ask(place.agent(), "evaluate", parts)["metrics"], 1 << 20)
    done = command("evaluate", place.home.folder, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [*told["scores"], *told["further"]] == rows
    assert told["experts"] == dict(which.experts_hash)
    assert {row["metric"] for row in told["further"]} == {"balanced accuracy"}
    folder = place.home.evaluation
    assert folder.stat().st_mode & 0o777 == 0o700
    for written in (folder, folder / "sft"):  # by the command, and by the agent
        files = [path for path in written.iterdir() if path.is_file()]
        assert {path.name for path in files} == {FILE, "figures.svg", "report.html", "report.json"}
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    page = (folder / "report.html").read_text()
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_a_killed_evaluation_goes_on_where_it_stopped(house: MakeHouse, counted: list[int]) -> None:
    """Catches answers that are asked for again, lost, or given to the wrong questions; a torn last line too."""
    place = house()
    received(place)
    model, questions = opened(place)
    whole = evaluated(place, model, questions, place.home.folder / "whole")
    asked = sum(counted)
    assert asked == len(questions.samples)
    counted.clear()

    class Killed(BaseException):
        pass

    def kill(done: int, of: int) -> None:
        if done >= asked // 2:
            raise Killed

    folder = place.home.folder / "part"
    with pytest.raises(Killed):
        evaluated(place, model, questions, folder, progress=kill)
    before = sum(counted)
    assert 0 < before < asked
    with (folder / FILE).open("a") as file:
        file.write('{"sample": "0123')
    told: list[int] = []
    again = evaluated(place, model, questions, folder, progress=lambda done, of: told.append(done))
    assert sum(counted) == asked
    assert (again.scores, again.answers) == (whole.scores, whole.answers)
    assert told[0] > before
    assert told[-1] == asked
    counted.clear()
    assert evaluated(place, model, questions, folder).scores == whole.scores
    assert counted == []


def test_answers_of_other_experts_are_not_taken(tmp_path: Path) -> None:
    """Catches figures that mix two models."""
    with KeptAnswers(tmp_path, "one") as kept:
        kept.keep([("a", "x"), ("b", "y")])
    with KeptAnswers(tmp_path, "one") as kept:
        assert kept.said == {"a": "x", "b": "y"}
    with KeptAnswers(tmp_path, "two") as kept:
        assert kept.said == {}
    with KeptAnswers(tmp_path, "one") as kept:
        assert kept.said == {}


def test_patients_who_withdrew_are_not_asked_about(house: MakeHouse) -> None:
    """Catches an evaluation of those who took back their consent."""
    place = house()
    everyone = {sample.patient for sample in open_questions(place.home).samples}
    leaver = min(everyone)
    asked = CliRunner().invoke(app, ["withdraw", str(place.home.folder)], input=f"{leaver.upper()} \n")
    assert "0 questions" not in asked.output  # another spelling is the same person, here as in training
    assert "spelling" not in asked.output
    assert {sample.patient for sample in open_questions(place.home).samples} == everyone - {leaver}
    add_withdrawn(place.home.withdrawn, everyone)
    received(place)
    done = command("evaluate", place.home.folder)
    assert done.exit_code == 2
    assert "error: " in done.output


def test_a_file_that_can_not_be_written_is_said_plainly(house: MakeHouse, tmp_path: Path) -> None:
    """Catches a traceback, where a folder is a file."""
    place = house()
    received(place)
    (tmp_path / "file").write_text("")
    done = command("evaluate", place.home.folder, "--out", tmp_path / "file")
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert f"{tmp_path / 'file'}: " in done.output.replace("\n", "")


def test_a_slide_that_goes_bad_is_left_out_and_named(house: MakeHouse, data: Path, tmp_path: Path) -> None:
    """Catches an evaluation that is lost with one slide."""
    shutil.copytree(data / "slides", tmp_path / "slides")
    place = house(slides=tmp_path / "slides")
    received(place)
    model, questions = opened(place)
    bad = sorted(tmp_path.glob("slides/*"))[0]
    bad.write_bytes(b"")
    report = evaluated(place, model, questions, place.home.evaluation)
    assert report.skipped == {bad.name: "empty"}
    assert bad.name not in {sample.slide for _, sample in report.answers}
    assert len(report.answers) == sum(sample.slide != bad.name for sample in questions.samples)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda home: None, "no experts were received yet"),
        (lambda home: (home.experts.mkdir(), (home.experts / "experts.json").write_text("{}")), "index"),
        (
            lambda home: write_experts(home.experts, Evaluation("base", "1" * 64, {}, {}, 3), {}),
            "belong to the base",
        ),
    ],
    ids=["none", "damaged", "another base's"],
)
def test_without_good_experts_it_says_what_to_do(
    house: MakeHouse, spoil: Callable[..., object], words: str
) -> None:
    """Catches a traceback, and the figures of some other model."""
    place = house()
    spoil(place.home)
    done = command("evaluate", place.home.folder)
    assert done.exit_code == 2
    assert words in done.output


def test_experts_are_asked_as_they_were_trained() -> None:
    """Catches an answer in a form that the model never learnt, or given with experts on that were not sent."""

    def asked(stage: str, *names: str) -> Evaluation:
        return Evaluation(stage, "0" * 64, dict.fromkeys(names, "0" * 64), same_form(names, 2, 4.0), 0, 48)

    scales, tasks = ("router", "scale/roi"), ("task/vqa",)
    assert Asking.of(asked("base")) == Asking("direct", 48, False, False)
    assert Asking.of(asked("sft", *scales)) == Asking("direct", 48, True, False)
    assert Asking.of(asked("grpo", *scales, *tasks)) == Asking("thinking", 48, True, True)
    assert Asking.of(asked("grpo", *tasks), "direct") == Asking("direct", 48, False, True)


def test_nothing_that_a_manifest_says_is_markup(house: MakeHouse) -> None:
    """Catches a question or an answer that runs in the reader's browser."""
    place = house()
    slides = open_questions(place.home).slides
    bad = "<script>alert(1)</script>"
    sample = Sample(bad, next(iter(slides)), Region(0, 0, 32, 32), "classification", bad, Label("fat"))
    pairs = [(bad, sample)]
    which = Evaluation("base", "0" * 64, {}, {}, 0)
    report = Report(which, "direct", tuple(pairs), tuple(scores(pairs)), (), {bad: "empty"})
    page = html("north", report, examples(pairs, slides), datetime(2026, 1, 1, tzinfo=UTC))
    assert "<script" not in page
    assert page.count("&lt;script") >= 3
    assert "data:image/jpeg" in page

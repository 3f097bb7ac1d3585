"""The learning curve: what GRPO was rewarded with, written for this user alone, in nothing that leaves."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.errors import HomeError
from client.reward_curve import Mark, RewardCurve, curves, read_marks
from client.tasks.sample import Sample
from client.tasks.task import Task
from client.training import grpo
from privacy import tensors
from privacy.experts import same_form
from privacy.mechanism import Mechanism
from tests.unit.client.conftest import SFT, Fixed, House, ask

TASKS = ("task/classification", "task/vqa")


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["curve", *map(str, arguments)])


def write_rounds(path: Path, campaign: str, *rounds: list[dict[str, list[float]]]) -> None:
    for number, steps in enumerate(rounds, 1):
        curve = RewardCurve(path, campaign, number)
        for done, rewards in enumerate(steps, 1):
            for task, values in rewards.items():
                curve.rewarded(task, values)
            curve.step(done)


def test_marks_are_means_by_step_and_task(tmp_path: Path) -> None:
    """Catches rewards that spill into the next step, and empty steps that count as 0."""
    path = tmp_path / "rewards.jsonl"
    write_rounds(
        path, "spring", [{"vqa": [1.0, 0.0], "detection": [0.5]}, {}, {"vqa": [1.5]}], [{"vqa": [0.3]}]
    )
    marks = read_marks(path)
    assert marks == [
        Mark("spring", 1, 1, "detection", 0.5, 1),
        Mark("spring", 1, 1, "vqa", 0.5, 2),
        Mark("spring", 1, 3, "vqa", 1.5, 1),
        Mark("spring", 2, 1, "vqa", 0.3, 1),
    ]
    assert curves(marks) == {"detection": [(1, 0.5)], "vqa": [(1, 0.5), (2, 1.5), (3, 0.3)]}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_round_that_is_taken_up_again_is_shown_once(tmp_path: Path) -> None:
    """Catches a step that counts twice after a crash, and a torn line that spoils the file."""
    path = tmp_path / "rewards.jsonl"
    write_rounds(path, "spring", [{"vqa": [0.1]}, {"vqa": [0.2]}])
    with path.open("ab") as file:
        file.write(b'\n{"campaign": "spr\xff')
        for damaged in ({"round": "1"}, {"step": None}, {"mean": True}):
            mark = {"campaign": "spring", "round": 1, "step": 1, "task": "vqa", "mean": 0.5, "rollouts": 1}
            file.write(b"\n" + json.dumps({**mark, **damaged}).encode())
    write_rounds(path, "spring", [{"vqa": [0.4]}])
    assert [mark.mean for mark in read_marks(path)] == [0.4, 0.2]
    write_rounds(path, "autumn", [{"vqa": [0.9]}])
    assert [mark.mean for mark in read_marks(path)] == [0.9]
    assert [mark.mean for mark in read_marks(path, "spring")] == [0.4, 0.2]
    for name in ("winter", None):
        with pytest.raises(HomeError, match="no rewards"):
            read_marks(path if name else tmp_path / "absent", name)


def test_a_grpo_round_leaves_its_curve_at_home_only(
    house: Callable[..., House],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catches a curve that nobody writes, one of other rewards than GRPO's, and a reward in a reply, log or status."""
    caplog.set_level(logging.DEBUG)
    seen: dict[str, list[float]] = {}
    real = grpo.reward

    def watched(task: Task, output: str, sample: Sample) -> float:
        value = real(task, output, sample) + 0.123456789 + len(seen.get(task.name, ())) / 1e6
        seen.setdefault(task.name, []).append(value)
        return value

    monkeypatch.setattr(grpo, "reward", watched)
    place = house()
    agent = place.agent(Fixed(1))
    plan = place.plan(
        stage="grpo",
        experts=TASKS,
        mechanism=Mechanism(1.0, 1.0, 0.8, 1, 4),
        experts_hash={name: tensors.digest(place.states[name]) for name in (*SFT, *TASKS)},
        forms=same_form((*SFT, *TASKS), 2, 4.0),
        rollouts=2,
        max_answer_tokens=8,
    )
    reply = ask(agent, "train", place.request(plan))
    assert set(reply) == {f"release/{name}" for name in TASKS}
    marks = read_marks(place.home.rewards)
    assert marks
    for mark in marks:
        assert (mark.campaign, mark.round, mark.step) == ("spring", 1, 1)
        assert mark.mean == pytest.approx(sum(seen[mark.task]) / len(seen[mark.task]))
        assert mark.rollouts == len(seen[mark.task])
    assert {mark.task for mark in marks} == set(seen)
    elsewhere = json.dumps(json.loads(agent.local_methods["status"](b""))) + caplog.text
    assert "reward" not in elsewhere
    assert not any(str(mark.mean)[:8] in elsewhere for mark in marks)
    told = json.loads(command(place.home.folder, "--json").stdout)
    assert [mark["mean"] for mark in told["marks"]] == [mark.mean for mark in marks]
    done = command(place.home.folder, "--out", tmp_path / "curve.svg")
    assert done.exit_code == 0, done.output
    assert "spring" in done.output
    assert (tmp_path / "curve.svg").read_text().startswith("<svg")
    assert (tmp_path / "curve.svg").stat().st_mode & 0o777 == 0o600


def test_without_rewards_it_says_where_they_come_from(house: Callable[..., House]) -> None:
    """Catches a traceback before the first GRPO round."""
    done = command(house().home.folder)
    assert done.exit_code == 2
    assert "GRPO" in done.output

"""Evaluations that a coordinator asks for apart from a campaign's run: which experts, kept once, under which name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from privacy import tensors
from privacy.expert_folder import read_experts
from privacy.experts import TRAINED_IN
from server import cli, superlink
from server.campaign import Campaign
from server.errors import (
    CampaignBusy,
    CampaignChanged,
    CampaignError,
    RoundFailed,
    StoreError,
    SuperLinkError,
)
from server.evaluation import evaluate
from server.flower_cli import FlowerCli
from server.follow import await_evaluation
from server.points import Point, point_of
from server.runner import begun_point
from tests.federation.test_rounds import CAMPAIGN, GRPO, SFT, World, world

BOTH = replace(CAMPAIGN, stages=(SFT, GRPO))


def asked(here: World, text: str | None, campaign: Campaign = BOTH) -> Point:
    """As the run that the command submits would."""
    house = here.house()
    with here.home.only_runner(campaign.name):
        point = begun_point(house.store, campaign, text)
        evaluate(house, campaign, point)
    return point


@pytest.mark.parametrize(
    ("text", "committed", "wanted"),
    [
        ("base", 0, Point("base", 0, "base")),
        ("0", 3, Point("base", 0, "base")),
        ("1", 3, Point("round-1", 1, "sft")),
        ("round-1", 3, Point("round-1", 1, "sft")),
        ("2", 3, Point("sft", 2, "sft")),
        ("sft", 2, Point("sft", 2, "sft")),
        ("grpo", 3, Point("grpo", 3, "grpo")),
        (None, 0, Point("base", 0, "base")),
        (None, 1, Point("round-1", 1, "sft")),
        (None, 3, Point("grpo", 3, "grpo")),
        ("sft", 1, "not committed"),
        ("3", 2, "not committed"),
        ("4", 3, "no point"),
        ("-1", 3, "no point"),
        ("rl", 3, "no point"),
        ("\u0663", 3, "no point"),
        ("", 3, "no point"),
    ],
)
def test_points_by_name_and_number(text: str | None, committed: int, wanted: Point | str) -> None:
    """Catches figures that are kept under another round's name."""
    if isinstance(wanted, Point):
        assert point_of(BOTH, committed, text) == wanted
    else:
        with pytest.raises(CampaignError, match=wanted):
            point_of(BOTH, committed, text)


def test_the_experts_of_the_round_that_was_asked_for_are_scored(tmp_path: Path) -> None:
    """Catches today's experts scored in an older round's name; and a run that evaluates a point again."""
    here = world(tmp_path, "north", "south", evaluator=True)
    here.run(BOTH)
    store, judge = here.store, here.hospitals["judge"]
    for text, name in (("base", "base"), ("1", "round-1"), ("2", "sft"), (None, "grpo")):
        assert asked(here, text).name == name
    assert judge.stages == ["base", "sft", "sft", "grpo"]
    scales = [{name: store.states("spring", number)[name] for name in TRAINED_IN["sft"]} for number in (1, 2)]
    assert judge.evaluated == [{}, *scales, store.states("spring")]
    assert scales[0] != scales[1]
    assert [row["point"] for row in here.shown()["evaluations"]] == ["base", "round-1", "sft", "grpo"]
    journal = [entry.body for entry in store.journal() if entry.kind == "evaluation"]
    assert [body["states"] for body in journal] == [store.states("spring", n) for n in (0, 1, 2, 3)]
    here.run(replace(BOTH, evaluate="stages"))
    assert len(judge.stages) == 4


def test_a_point_is_kept_once(tmp_path: Path) -> None:
    """Catches a second try at a figure that did not please."""
    here = world(tmp_path, "north", "south", evaluator=True)
    here.run()
    asked(here, "sft", CAMPAIGN)
    with pytest.raises(StoreError):
        asked(here, "sft", CAMPAIGN)


def test_what_can_not_be_evaluated_is_said(tmp_path: Path) -> None:
    """Catches an evaluation of a campaign that is another than the file says, is not there, or is at work."""
    here = world(tmp_path, "north", "south", evaluator=True)
    with pytest.raises(StoreError, match="never begun"):
        asked(here, None, CAMPAIGN)
    here.run()
    with pytest.raises(CampaignChanged):
        asked(here, None, replace(CAMPAIGN, seed=8))
    with here.home.only_runner("spring"), pytest.raises(CampaignBusy):
        asked(here, None, CAMPAIGN)
    here.hospitals["judge"].policy = replace(here.hospitals["judge"].policy, public_data=False)
    with pytest.raises(RoundFailed, match="not-an-evaluator"):
        asked(here, None, CAMPAIGN)
    assert here.shown()["evaluations"] == []
    assert here.shown()["state"] == "done"


# --- the commands


FILE = """\
name = "spring"
seed = 7
base_hash = "{base}"
expert_rank = 2
expert_alpha = 4.0
initial = "experts"
quorum = 2
round_deadline_s = 120.0
evaluate = "never"

[[stage]]
kind = "sft"
rounds = 2
experts = ["scale/roi", "scale/wsi"]
learning_rate = 0.01
mechanism = {{ clip_norm = 1.0, noise_multiplier = 1.0, sampling_rate = 0.1, steps = 2, samples_per_patient = 4 }}
"""


def command(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def done(tmp_path: Path) -> tuple[World, Path]:
    """A world whose campaign is done, and the campaign's file."""
    here = world(tmp_path, "north", "south", evaluator=True)
    here.run()
    file = tmp_path / "campaign.toml"
    file.write_text(FILE.format(base=CAMPAIGN.base_hash))
    return here, file


def test_the_command_asks_once_and_prints_what_is_kept(
    done: tuple[World, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a command that asks for nothing, asks twice, or prints another point's figures."""
    here, file = done
    submitted: list[dict[str, str]] = []

    class Flower:
        """What would start the ServerApp: here it runs at once."""

        def submit(self, project: Path, config: dict[str, str]) -> str:
            submitted.append(config)
            asked(here, config["evaluate"], CAMPAIGN)
            return "7"

    refused = command("evaluate", here.home.folder, file)
    assert refused.exit_code == 2
    assert "fedpath-consortium start" in refused.output
    monkeypatch.setattr("server.reach.require_superlink", lambda home: None)
    monkeypatch.setattr(superlink, "flower", lambda home: Flower())
    first = command("evaluate", here.home.folder, file, "--point", "1", "--json")
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert (told["point"], told["round"], told["stage"]) == ("round-1", 1, "sft")
    assert told["scores"][0]["ci95"] == [0.4, 0.6]
    states = here.store.states("spring", 1)
    assert told["experts"] == {name: states[name] for name in TRAINED_IN["sft"]}
    assert submitted == [{"home": str(here.home.folder), "campaign": str(file), "evaluate": "round-1"}]
    assert json.loads(command("evaluate", here.home.folder, file, "--point", "1", "--json").stdout) == told
    assert len(submitted) == 1
    assert "0.400 to 0.600" in command("evaluate", here.home.folder, file, "--point", "1").output
    assert command("evaluate", here.home.folder, file, "--point", "9").exit_code == 2


def test_a_run_that_ends_without_figures_is_told_with_its_last_words(
    done: tuple[World, Path], tmp_path: Path
) -> None:
    """Catches a command that waits for ever."""

    class Ended(FlowerCli):
        def has_ended(self, run_id: str) -> bool:
            return True

        def last_words(self, run_id: str) -> str:
            return "EvaluationFailed: judge gave no figures"

    flower, slept = Ended(tmp_path / "flower", ""), []
    with pytest.raises(SuperLinkError, match="judge gave no figures"):
        await_evaluation(done[0].store, flower, "spring", "sft", "7", slept.append)
    assert sum(slept) < 60


@pytest.mark.parametrize(("point", "number"), [("base", 0), ("1", 1), (None, 2)])
def test_experts_are_handed_out_as_they_were_committed(
    done: tuple[World, Path], tmp_path: Path, point: str | None, number: int
) -> None:
    """Catches the experts of another round, and a folder of something else that is written into."""
    here, file = done
    folder = tmp_path / "given"
    extra = () if point is None else ("--point", point)
    said = command("experts", here.home.folder, file, folder, *extra)
    assert said.exit_code == 0, said.output
    which, states = read_experts(folder)
    assert which.stage == ("base" if number == 0 else "sft")
    expected = here.store.states("spring", number)
    assert set(states) == (set() if number == 0 else set(TRAINED_IN["sft"]))
    assert {name: tensors.digest(data) for name, data in states.items()} == {n: expected[n] for n in states}
    with here.home.only_runner("spring"):
        busy = command("evaluate", here.home.folder, file, "--point", "1")
    assert busy.exit_code == 2
    assert "is at work" in busy.output
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    assert command("experts", here.home.folder, file, tmp_path / "mine").exit_code == 2

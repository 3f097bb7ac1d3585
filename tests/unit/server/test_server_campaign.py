"""The campaign: its file, and the state machine that says what comes next."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from privacy.experts import EXPERTS
from server.campaign import (
    Done,
    Evaluate,
    Progress,
    Train,
    evaluated_with,
    next_action,
    plan_for,
    travelling,
)
from server.campaign_file import load_campaign, load_initial, parse_campaign, state_file
from server.errors import CampaignError
from tests.federation.simulator import initial

DOCUMENT = Path(__file__).parents[3] / "docs" / "campaign.md"
TEXT = DOCUMENT.read_text("utf-8").split("```toml\n")[1].split("```")[0].replace("5f0c...", "5f" * 32)
VALUES = tomllib.loads(TEXT)
CAMPAIGN = parse_campaign(VALUES)


def test_the_documented_campaign_is_valid() -> None:
    """The page that users copy from must parse as it stands."""
    assert [stage.kind for stage in CAMPAIGN.stages] == ["sft", "grpo"]
    assert CAMPAIGN.rounds == 5


@dataclass(frozen=True)
class Wrong:
    """A change to the documented file, and what the error must name."""

    name: str
    change: Callable[[dict[str, Any]], object]
    says: str


WRONG = (
    Wrong("unknown key", lambda v: v.update(quorm=2), "did you mean 'quorum'"),
    Wrong("missing key", lambda v: v.pop("seed"), "missing seed"),
    Wrong("unknown stage key", lambda v: v["stage"][0].update(round=2), "stage 1: unknown key 'round'"),
    Wrong(
        "unknown mechanism key", lambda v: v["stage"][1]["mechanism"].update(sigma=1), "stage 2: mechanism"
    ),
    Wrong("name with a space", lambda v: v.update(name="my run"), "name = 'my run'"),
    Wrong("quorum of none", lambda v: v.update(quorum=0), "quorum = 0"),
    Wrong("quorum as text", lambda v: v.update(quorum="2"), "quorum = '2'"),
    Wrong("endless deadline", lambda v: v.update(round_deadline_s=float("inf")), "round_deadline_s = inf"),
    Wrong("evaluate always", lambda v: v.update(evaluate="always"), "use one of stages, never"),
    Wrong("weighting unknown", lambda v: v.update(weighting="median"), "weighting = 'median'"),
    Wrong("base not a hash", lambda v: v.update(base_hash="abc"), "base_hash 'abc'"),
    Wrong("no stage", lambda v: v.pop("stage"), "state one or more of sft, grpo"),
    Wrong("stages in a wrong order", lambda v: v["stage"].reverse(), "in this order"),
    Wrong("a stage twice", lambda v: v["stage"].append(v["stage"][1]), "each once"),
    Wrong("task expert in sft", lambda v: v["stage"][0].update(experts=["task/vqa"]), "stage sft trains"),
    Wrong("unknown expert", lambda v: v["stage"][1].update(experts=["task/counting"]), "task/counting"),
    Wrong("no rounds", lambda v: v["stage"][0].update(rounds=0), "rounds = 0"),
    Wrong("rollouts in sft", lambda v: v["stage"][0].update(rollouts=4), "takes none of rollouts"),
    Wrong("one rollout", lambda v: v["stage"][1].update(rollouts=1), "rollouts of at least 2"),
    Wrong("rate above 1", lambda v: v["stage"][0]["mechanism"].update(sampling_rate=1.5), "sampling_rate"),
    Wrong("experts not a list", lambda v: v["stage"][0].update(experts="scale/roi"), "must be a list"),
    Wrong("mechanism not a table", lambda v: v["stage"][0].update(mechanism=3), "mechanism"),
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_file_is_an_error_that_names_the_key(wrong: Wrong) -> None:
    """Each mistake is told before anything begins: no hospital may be asked a plan that it can't read."""
    values = copy.deepcopy(VALUES)
    wrong.change(values)
    with pytest.raises(CampaignError) as caught:
        parse_campaign(values)
    assert wrong.says in str(caught.value)


def test_errors_name_the_file(tmp_path: Path) -> None:
    """A message without the file's name helps nobody who has two."""
    path = tmp_path / "c.toml"
    with pytest.raises(CampaignError, match=r"c\.toml: No such file"):
        load_campaign(path)
    path.write_text("name = ")
    with pytest.raises(CampaignError, match=r"c\.toml: not TOML"):
        load_campaign(path)


def test_the_machine_goes_through_every_state_once() -> None:
    """The order of a campaign: a stage left out, or evaluated twice, would show."""
    progress, seen = Progress(), []
    while not isinstance(action := next_action(CAMPAIGN, progress), Done):
        if isinstance(action, Evaluate):
            seen.append(action.point)
            progress = replace(progress, evaluated=progress.evaluated | {action.point})
        else:
            seen.append(f"{action.stage.kind} {action.of_stage} = {action.number}")
            progress = replace(progress, rounds=action.number)
    assert seen == ["base", "sft 1 = 1", "sft 2 = 2", "sft 3 = 3", "sft", "grpo 1 = 4", "grpo 2 = 5", "grpo"]


def test_never_evaluates_where_told_so() -> None:
    """`evaluate = "never"` must not wait for an evaluator that is not there."""
    quiet = replace(CAMPAIGN, evaluate="never")
    actions = [next_action(quiet, Progress(rounds)) for rounds in range(6)]
    assert [type(action) for action in actions] == [Train] * 5 + [Done]


def test_evaluation_turned_on_late_does_not_look_back() -> None:
    """Mid-stage, a point that has passed is not evaluated with the wrong experts."""
    assert isinstance(next_action(CAMPAIGN, Progress(rounds=1)), Train)
    assert isinstance(next_action(CAMPAIGN, Progress(rounds=4)), Train)


def test_more_rounds_than_the_campaign_has_is_an_error() -> None:
    """A store of another campaign must not be taken for a finished one."""
    with pytest.raises(CampaignError, match="6 rounds"):
        next_action(CAMPAIGN, Progress(rounds=6))


def test_task_rounds_carry_the_scale_experts_and_scale_rounds_nothing_more() -> None:
    """A task expert is pinned to the hash of the scale experts under it."""
    states = dict.fromkeys(EXPERTS, "ab" * 32)
    sft, grpo = CAMPAIGN.stages
    assert travelling(sft, states) == ("scale/roi", "scale/wsi")
    assert set(travelling(grpo, states)) == set(EXPERTS)
    plan = plan_for(CAMPAIGN, Train(4, 1, grpo), states)
    assert (plan.round, plan.stage, set(plan.experts_hash)) == (4, "grpo", set(EXPERTS))


def test_points_switch_on_what_was_trained() -> None:
    """ "base" with an expert on would hide what training gained."""
    assert evaluated_with("base", EXPERTS) == ()
    assert evaluated_with("sft", EXPERTS) == ("scale/roi", "scale/wsi")
    assert set(evaluated_with("grpo", EXPERTS)) == set(EXPERTS)


def _write_initial(folder: Path, states: dict[str, bytes]) -> Path:
    (folder / "experts").mkdir()
    for name, data in states.items():
        (folder / "experts" / state_file(name)).write_bytes(data)
    return folder / "c.toml"


def test_initial_states_are_read_by_expert_name(tmp_path: Path) -> None:
    """File names spell the expert with __ for /."""
    assert load_initial(CAMPAIGN, _write_initial(tmp_path, initial())) == initial()


def test_initial_states_must_fit_the_campaign(tmp_path: Path) -> None:
    """A missing or unreadable first state is told before the first round."""
    states = initial()
    del states["task/vqa"]
    path = _write_initial(tmp_path, states)
    with pytest.raises(CampaignError, match="missing task/vqa"):
        load_initial(CAMPAIGN, path)
    (tmp_path / "experts" / state_file("task/vqa")).write_bytes(b"not safetensors")
    with pytest.raises(CampaignError, match=r"task__vqa\.safetensors: not an expert state"):
        load_initial(CAMPAIGN, path)
    with pytest.raises(CampaignError, match="there is no folder"):
        load_initial(replace(CAMPAIGN, initial="elsewhere"), path)

"""The campaign: its file, and the state machine that says what comes next."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from privacy.expert_folder import state_file
from privacy.experts import EXPERTS, LAYERS, ROUTER, SCALES, TASKS, ExpertForm
from server.campaign import (
    Done,
    Evaluate,
    EvaluateNoised,
    NoisedEvaluations,
    Progress,
    Train,
    evaluated_with,
    next_action,
    plan_for,
    request_for,
)
from server.campaign_file import load_campaign, load_initial, parse_campaign
from server.errors import CampaignError
from strategies.aggregate import Recipe
from strategies.definition import Definition, travelling
from strategies.errors import DefinitionError
from strategies.optimiser import Optimiser
from strategies.weighting import Weighting
from tests.federation.simulator import initial

DOCUMENT = Path(__file__).parents[3] / "docs" / "campaign.md"
TEXT = DOCUMENT.read_text("utf-8").split("```toml\n")[1].split("```")[0].replace("5f0c...", "5f" * 32)
VALUES = tomllib.loads(TEXT)
DOCUMENTED = parse_campaign(VALUES)
CAMPAIGN = replace(DOCUMENTED, noised_evaluation=None)


def test_the_documented_campaign_is_valid() -> None:
    """The page that users copy from must parse as it stands."""
    assert [stage.kind for stage in CAMPAIGN.stages] == ["sft", "grpo"]
    assert CAMPAIGN.rounds == 5
    assert DOCUMENTED.noised_evaluation == NoisedEvaluations(4.0)


def test_the_documented_ways_to_aggregate_are_valid() -> None:
    """The page's second part must parse too, beside the first."""
    more = tomllib.loads(DOCUMENT.read_text("utf-8").split("```toml\n")[2].split("```")[0])
    found = parse_campaign({**VALUES, **more})
    assert found.members == {"north", "south", "west"}
    assert found.recipe("scale/roi").shrinkage == "row"


@dataclass(frozen=True)
class Wrong:
    """A change to the documented file, and what the error must name."""

    name: str
    change: Callable[[dict[str, Any]], object]
    says: str


def _form(values: dict[str, Any]) -> dict[str, Any]:
    form: dict[str, Any] = values["expert"]["task/detection"]
    return form


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
    Wrong(
        "trusted code that is no hash", lambda v: v.update(trusted_code=["5f0c"]), "trusted_code = ['5f0c']"
    ),
    Wrong("trusted code as text", lambda v: v.update(trusted_code="5f" * 32), "trusted_code"),
    Wrong("no noise", lambda v: v.update(noised_evaluation={"noise_multiplier": 0}), "noise_multiplier = 0"),
    Wrong(
        "noise as text",
        lambda v: v.update(noised_evaluation={"noise_multiplier": "2"}),
        "noise_multiplier = '2'",
    ),
    Wrong("noise misspelt", lambda v: v.update(noised_evaluation={"noise": 2}), "unknown key 'noise'"),
    Wrong("noise without a value", lambda v: v.update(noised_evaluation={}), "missing noise_multiplier"),
    Wrong("noise as a number", lambda v: v.update(noised_evaluation=2.0), "[noised_evaluation] table"),
    Wrong(
        "a form of no expert", lambda v: v["expert"].update({"task/counting": {}}), 'expert."task/counting"'
    ),
    Wrong("a form of the router", lambda v: v["expert"].update(router={}), 'expert."router"'),
    Wrong("no rank", lambda v: v.update(expert_rank=0), "expert_rank = 0"),
    Wrong("alpha as text", lambda v: v.update(expert_alpha="8"), "expert_alpha = '8'"),
    Wrong(
        "a form's rank as text", lambda v: _form(v).update(rank="8"), "expert.\"task/detection\": rank = '8'"
    ),
    Wrong("a form's key misspelt", lambda v: _form(v).update(layer=[]), "did you mean 'layers'"),
    Wrong("a form's unknown layer", lambda v: _form(v).update(layers=["lm_head"]), "lm_head"),
    Wrong(
        "forms not in tables", lambda v: v.update(expert={"task/vqa": 8}), '[expert."task/detection"] table'
    ),
    Wrong("the router alone", lambda v: v["stage"][0].update(experts=["router"]), "never alone"),
    Wrong("weights without declaring", lambda v: v.update(weights={"north": 1.0}), 'weighting = "declared"'),
    Wrong("declared without weights", lambda v: v.update(weighting="declared"), "[weights] table"),
    Wrong(
        "a weight of nothing",
        lambda v: v.update(weighting="declared", weights={"north": 0}),
        "weights.north = 0",
    ),
    Wrong(
        "a weight as text", lambda v: v.update(weighting="declared", weights={"north": "1"}), "weights.north"
    ),
    Wrong(
        "a weight of nobody",
        lambda v: v.update(weighting="declared", weights={"No One": 1}),
        "[weights] table",
    ),
    Wrong(
        "a weight whose square is none",
        lambda v: v.update(weighting="declared", weights={"north": 1e-200}),
        "weights.north = 1e-200",
    ),
    Wrong(
        "a server's step out of float32",
        lambda v: v.update(optimiser={"scale/roi": {"kind": "momentum", "learning_rate": 1e300}}),
        "learning_rate = 1e+300",
    ),
    Wrong(
        "a tau out of float32",
        lambda v: v.update(optimiser={"scale/roi": {"kind": "adam", "tau": 1e-60}}),
        "tau = 1e-60",
    ),
    Wrong(
        "weights by noise that nobody agreed upon",
        lambda v: v.update(weighting="noise-tempered"),
        "takes a [patients] table",
    ),
    Wrong("patients not whole", lambda v: v.update(patients={"north": 1.5}), "patients.north = 1.5"),
    Wrong(
        "two lists of hospitals",
        lambda v: v.update(weighting="declared", weights={"north": 1}, patients={"south": 9}),
        "north, south",
    ),
    Wrong("an unknown rule", lambda v: v.update(aggregation={"rule": "mode"}), "rule = 'mode'"),
    Wrong("a rule as text", lambda v: v.update(aggregation="median"), "[aggregation] table"),
    Wrong("a rule misspelt", lambda v: v.update(aggregation={"rul": "median"}), "did you mean 'rule'"),
    Wrong("trimming nobody", lambda v: v.update(aggregation={"rule": "trimmed-mean"}), "hostile = 0"),
    Wrong("a mean against some", lambda v: v.update(aggregation={"hostile": 1}), "hostile = 1"),
    Wrong(
        "too few to trim", lambda v: v.update(aggregation={"rule": "trimmed-mean", "hostile": 1}), "needs 3"
    ),
    Wrong(
        "a weighted median",
        lambda v: v.update(weighting="noise-aware", patients={"north": 9}, aggregation={"rule": "median"}),
        "median counts all",
    ),
    Wrong(
        "a shrunk median",
        lambda v: v.update(aggregation={"rule": "median", "shrinkage": "row"}),
        "shrinkage = 'row'",
    ),
    Wrong("an optimiser of no expert", lambda v: v.update(optimiser={"task/counting": {}}), "task/counting"),
    Wrong(
        "an unknown optimiser", lambda v: v.update(optimiser={"scale/roi": {"kind": "lion"}}), "kind = 'lion'"
    ),
    Wrong(
        "a key that momentum has not",
        lambda v: v.update(optimiser={"scale/roi": {"kind": "momentum", "tau": 0.1}}),
        'optimiser."scale/roi": tau',
    ),
    Wrong("optimisers not in tables", lambda v: v.update(optimiser="adam"), '[optimiser."scale/roi"] table'),
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


def test_hospitals_are_asked_after_each_stage_and_its_evaluation() -> None:
    """Catches noised counts that are asked for before training, in mid-stage, twice, or not after the last stage."""
    asking = replace(CAMPAIGN, noised_evaluation=NoisedEvaluations(2.0))
    progress, seen = Progress(), []
    while not isinstance(action := next_action(asking, progress), Done):
        if isinstance(action, Train):
            progress = replace(progress, rounds=action.number)
        elif isinstance(action, Evaluate):
            seen.append(action.point)
            progress = replace(progress, evaluated=progress.evaluated | {action.point})
        else:
            seen.append(f"{action.point} noised after {action.number}")
            progress = replace(progress, noised=progress.noised | {action.point})
    assert seen == ["base", "sft", "sft noised after 3", "grpo", "grpo noised after 5"]
    assert next_action(asking, Progress(rounds=4)) == next_action(CAMPAIGN, Progress(rounds=4))


def test_a_request_asks_about_what_the_campaign_trains() -> None:
    """Catches kinds that change from point to point, experts that are off at it, or another base."""
    asking = replace(CAMPAIGN, noised_evaluation=NoisedEvaluations(2.0))
    states = dict.fromkeys(EXPERTS, "ab" * 32)
    request = request_for(asking, EvaluateNoised("sft", 3), states)
    assert (request.campaign, request.round, request.point) == ("spring", 3, "sft")
    assert (request.base_hash, request.noise_multiplier) == (CAMPAIGN.base_hash, 2.0)
    assert set(request.experts_hash) == {ROUTER, "scale/roi", "scale/wsi"}
    assert request.kinds == tuple(sorted((scale, task) for scale in SCALES for task in TASKS))
    with pytest.raises(CampaignError, match="no noised evaluation"):
        request_for(CAMPAIGN, EvaluateNoised("sft", 3), states)


def test_trusted_code_belongs_to_the_definition_and_noised_evaluation_does_not() -> None:
    """Catches code that is trusted in the middle of a campaign, unseen; and a campaign that can't be asked more."""
    start = CAMPAIGN.defined().to_dict()
    assert CAMPAIGN.code_hashes is None
    trusting = parse_campaign({**VALUES, "trusted_code": ["ab" * 32]})
    assert trusting.code_hashes == {"ab" * 32}
    assert trusting.defined().to_dict() != start
    assert replace(CAMPAIGN, noised_evaluation=NoisedEvaluations(2.0)).defined().to_dict() == start


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
    assert travelling(sft, states) == (ROUTER, "scale/roi", "scale/wsi")
    assert set(travelling(grpo, states)) == set(EXPERTS)
    plan = plan_for(CAMPAIGN, Train(4, 1, grpo), states)
    assert (plan.round, plan.stage, set(plan.experts_hash)) == (4, "grpo", set(EXPERTS))


def test_an_experts_form_is_its_tables_or_else_the_usual_one() -> None:
    """Catches a rank of one expert given to another, a form that hospitals are not told, or one that may change in the
    middle of a campaign."""
    states = dict.fromkeys(EXPERTS, "ab" * 32)
    usual, own = ExpertForm(4, 8.0), ExpertForm(8, 16.0, ("q_proj", "v_proj"))
    plan = plan_for(CAMPAIGN, Train(4, 1, CAMPAIGN.stages[1]), states)
    assert plan.forms == {n: own if n == "task/detection" else usual for n in EXPERTS if n != ROUTER}
    assert usual.layers == LAYERS
    partly = parse_campaign({**VALUES, "expert": {"task/detection": {"rank": 2}}})
    assert partly.forms(["task/detection", ROUTER]) == {"task/detection": ExpertForm(2, 8.0)}
    assert partly.defined().to_dict() != CAMPAIGN.defined().to_dict()
    assert parse_campaign({k: v for k, v in VALUES.items() if k != "expert"}).forms(["scale/roi"]) == {
        "scale/roi": usual
    }


def test_points_switch_on_what_was_trained() -> None:
    """ "base" with an expert on would hide what training gained."""
    assert evaluated_with("base", EXPERTS) == ()
    assert evaluated_with("sft", EXPERTS) == (ROUTER, "scale/roi", "scale/wsi")
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


def test_how_experts_are_aggregated_is_read_from_the_file() -> None:
    """Catches a key that is read and has no effect, and one expert's optimiser given to another."""
    found = parse_campaign(
        {
            **VALUES,
            "quorum": 3,
            "patients": {"north": 400, "south": 900, "west": 120},
            "aggregation": {"rule": "trimmed-mean", "hostile": 1},
            "optimiser": {"scale/roi": {"kind": "adam", "learning_rate": 0.01}},
        }
    )
    assert found.members == {"north", "south", "west"}
    assert found.recipe("scale/wsi") == Recipe(rule="trimmed-mean", hostile=1)
    assert found.recipe("scale/roi").optimiser == Optimiser("adam", 0.01)
    declared = parse_campaign({**VALUES, "weighting": "declared", "weights": {"north": 2, "south": 1.0}})
    assert declared.recipe("scale/roi").weighting == Weighting("declared", {"north": 2, "south": 1.0})
    assert declared.members == {"north", "south"}


def test_a_plain_mean_leaves_the_definition_as_it_always_was() -> None:
    """Catches a consortium that, updated in mid-campaign, is told that the campaign was changed; and a rule that may change
    in the middle of one."""
    plain = CAMPAIGN.defined().to_dict()
    assert not {"weights", "patients", "aggregation", "optimiser"} & set(plain)
    for values in (
        {"weighting": "declared", "weights": {"north": 1.0}},
        {"patients": {"north": 100}},
        {"aggregation": {"rule": "median"}},
        {"optimiser": {"scale/roi": {"kind": "yogi"}}},
    ):
        assert parse_campaign({**VALUES, **values}).defined().to_dict() != plain


def _forged(**changes: object) -> dict[str, Any]:
    return {**CAMPAIGN.defined(START).to_dict(), **changes}


START = dict.fromkeys(EXPERTS, "ab" * 32)
_STAGES = CAMPAIGN.defined().to_dict()["stages"]
FORGED = {
    "a field that no campaign has": _forged(colour="red"),
    "no stages' table": _forged(stages=[1]),
    "a stage of no rounds": _forged(stages=[{**_STAGES[0], "rounds": 0}]),
    "a mechanism that is none": _forged(stages=[{**_STAGES[0], "mechanism": {"kind": "none"}}]),
    "an unknown rule": _forged(aggregation={"rule": "luck", "hostile": 0, "shrinkage": "none"}),
    "half a rule": _forged(aggregation={"rule": "median"}),
    "an optimiser with a field that it has not": _forged(
        optimiser={"scale/roi": {"kind": "adam", "luck": 1}}
    ),
    "an optimiser of no expert": _forged(optimiser={"scale/lens": {"kind": "momentum"}}),
    "an optimiser as a list": _forged(optimiser=[]),
    "a weight that is text": _forged(weighting="declared", weights={"north": "1"}),
    "patients by halves": _forged(patients={"north": 1.5}),
    "forms of nothing": _forged(expert={"scale/roi": 4}),
    "a start that is no hash": _forged(initial={"scale/roi": "x"}),
    "a seed that is a truth": _forged(seed=True),
    "an infinite rate": _forged(stages=[{**_STAGES[0], "learning_rate": float("inf")}]),
}


@pytest.mark.parametrize("values", FORGED.values(), ids=FORGED.keys())
def test_a_definition_that_no_campaign_writes_is_refused(values: dict[str, Any]) -> None:
    """A journal's definition is its coordinator's word: catches one that ends an audit, or that is read as another."""
    with pytest.raises(DefinitionError):
        Definition.from_dict(values)


def test_a_definition_is_read_back_and_gives_the_same_plans_and_recipes() -> None:
    """Catches an auditor who would recompute rounds by another plan or recipe than the consortium's."""
    for values in (
        VALUES,
        {
            **VALUES,
            "weighting": "noise-aware",
            "patients": {"north": 100},
            "optimiser": {"scale/roi": {"kind": "adam", "learning_rate": 0.1}},
        },
        {
            **VALUES,
            "quorum": 3,
            "aggregation": {"rule": "trimmed-mean", "hostile": 1},
            "patients": {"north": 100},
        },
    ):
        campaign = parse_campaign(values)
        found = Definition.from_dict(campaign.defined(START).to_dict())
        assert found == campaign.defined(START)
        number = 0
        for stage in campaign.stages:
            for of_stage in range(1, stage.rounds + 1):
                number += 1
                wanted = plan_for(campaign, Train(number, of_stage, stage), START)
                assert found.plan(found.stage_at(number), number, START) == wanted
        with pytest.raises(DefinitionError, match="no round"):
            found.stage_at(number + 1)
        assert all(found.recipe(expert) == campaign.recipe(expert) for expert in EXPERTS)

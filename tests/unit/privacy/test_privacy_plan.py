"""A plan from the network is read strictly or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privacy import canonical, keys
from privacy.errors import PlanError, SignatureInvalid
from privacy.experts import ExpertForm
from privacy.keys import Purpose
from privacy.mechanism import SHARED
from privacy.plan import MAX_BYTES, Plan
from privacy.secagg.terms import Distributed
from tests.privacy_cases import DISTRIBUTED, PARENT, PLAN

FORM = {"rank": 4, "alpha": 8.0, "layers": ["q_proj", "v_proj"]}

GRPO = replace(
    PLAN,
    stage="grpo",
    experts=("task/detection", "task/vqa"),
    experts_hash={"task/detection": PARENT, "task/vqa": PARENT, "scale/roi": PARENT, "router": PARENT},
    forms={
        "task/detection": ExpertForm(8, 16.0, ("q_proj", "down_proj")),
        "task/vqa": ExpertForm(1, 2.0),
        "scale/roi": ExpertForm(4, 8.0),
    },
    rollouts=4,
    kl_beta=0.04,
    max_answer_tokens=48,
)


@pytest.mark.parametrize("plan", [PLAN, GRPO, DISTRIBUTED], ids=["sft", "grpo", "distributed"])
def test_a_plan_round_trips_and_its_hash_is_that_of_its_bytes(plan: Plan) -> None:
    """Catches a field that is lost on the way, or a hash over something else than what travels."""
    again = Plan.from_bytes(plan.to_bytes())
    assert again == plan
    assert again.hash == plan.hash == canonical.digest(plan.to_bytes())
    shared = {"mechanism": SHARED} if plan.distributed else {}
    assert again.event() == replace(plan.mechanism.event(), **shared)


def test_a_plan_for_releases_says_nothing_of_distributed_trust() -> None:
    """Catches a new field in every plan: rounds that were begun before it, and their hashes, must stay what they were."""
    assert "distributed" not in json.loads(PLAN.to_bytes())


@pytest.mark.parametrize(
    ("terms", "steps", "message"),
    [
        ({}, 2, "1 step"),
        ({"grid_step": 2.0**-4}, 1, "too coarse"),  # shares of 11 steps
        ({"grid_step": 0.3}, 1, "power of two"),
        ({"grid_step": 2.0**-60}, 1, "too fine"),
        ({"grid_step": 1}, 1, "each a number"),
        ({"grid_step": float("nan")}, 1, "plan"),
        ({"most_patients": 0}, 1, "most_patients"),
        ({"honest": 0}, 1, "honest"),
        ({"honest": True}, 1, "each a number"),
        ({"colluding": 0}, 1, "colluding"),
        ({"colluding": 101}, 1, "colluding"),
        ({"extra": 1}, 1, "each a number"),
    ],
)
def test_terms_under_which_the_event_would_not_hold_are_refused(
    terms: dict[str, Any], steps: int, message: str
) -> None:
    """Catches a plan whose shares are so small that its cost depends on how many numbers are sent, and any other terms
    that the accounting does not cover.
    """
    fields = json.loads(DISTRIBUTED.to_bytes())
    fields["distributed"] |= terms
    fields["mechanism"]["steps"] = steps
    with pytest.raises(PlanError, match=message):
        Plan.from_bytes(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize("terms", [None, [], "yes", 1])
def test_terms_that_are_no_table_are_refused(terms: object) -> None:
    """Catches a plan of which a careless reader takes `null` terms for local trust, another for distributed."""
    fields = json.loads(PLAN.to_bytes()) | {"distributed": terms}
    with pytest.raises(PlanError):
        Plan.from_bytes(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    ("hospitals", "honest", "colluding", "threshold"),
    [
        (3, 2, 1, 3),
        (10, 2, 1, 7),
        (10, 8, 1, 9),
        (30, 20, 1, 21),
        (2, 1, 1, None),
        (3, 3, 1, None),
        (10, 5, 4, 9),
        (101, 2, 1, None),
    ],
)
def test_a_threshold_keeps_to_the_protocol_and_leaves_the_honest_shares(
    hospitals: int, honest: int, colluding: int, threshold: int | None
) -> None:
    """Catches a session under which too few hospitals' noise is left, or two sets of survivors could be opened."""
    assert Distributed(2.0**-10, 50, honest, colluding).threshold(hospitals) == threshold


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"campaign": "../x"}, "campaign"),
        ({"campaign": 3}, "campaign"),
        ({"round": 0}, "round"),
        ({"round": 1.0}, "round"),
        ({"round": True}, "round"),
        ({"round": 10**9}, "round"),
        ({"stage": "dpo"}, "stage"),
        ({"stage": []}, "stage"),
        ({"experts": []}, "experts"),
        ({"experts": "scale/roi"}, "experts"),
        ({"experts": [["scale/roi"]]}, "experts"),
        ({"experts": ["scale/wsi", "scale/roi"]}, "sorted"),
        ({"experts": ["scale/roi", "scale/roi"]}, "unique"),
        ({"experts": ["router", "scale/roi"]}, "lacks router"),
        ({"experts": ["task/vqa"]}, "stage sft trains"),
        ({"experts": ["scale/mri"]}, "stage sft trains"),
        ({"experts_hash": {"scale/roi": PARENT}}, "lacks scale/wsi"),
        ({"experts_hash": {"scale/roi": "abc", "scale/wsi": PARENT}}, "experts_hash"),
        ({"experts_hash": {"scale/roi": PARENT, "scale/wsi": PARENT, "x": PARENT}}, "experts_hash"),
        ({"experts_hash": [PARENT]}, "experts_hash"),
        ({"base_hash": PARENT.upper()}, "base_hash"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": "1e-3"}, "learning_rate"),
        ({"learning_rate": 1}, "number"),
        ({"forms": {}}, "scale/roi, scale/wsi"),
        ({"forms": [FORM, FORM]}, "forms"),
        ({"forms": {"scale/roi": FORM}}, "scale/wsi"),
        ({"forms": {"scale/roi": FORM, "scale/wsi": FORM, "task/vqa": FORM}}, "task/vqa"),
        ({"forms": {"scale/roi": FORM, "scale/wsi": FORM, "router": FORM}}, "router"),
        ({"forms": {"scale/roi": FORM, "scale/wsi": 4}}, "scale/wsi"),
        ({"forms": {"scale/roi": FORM, "scale/wsi": {**FORM, "dropout": 0.1}}}, "scale/wsi.*form"),
        *(
            (
                {"forms": {"scale/roi": FORM, "scale/wsi": {**FORM, **wrong}}},
                f"scale/wsi: {next(iter(wrong))}",
            )
            for wrong in (
                {"rank": 0},
                {"rank": 10**6},
                {"rank": True},
                {"rank": 4.0},
                {"alpha": -1.0},
                {"alpha": "8"},
                {"layers": []},
                {"layers": "q_proj"},
                {"layers": ["lm_head"]},
                {"layers": ["v_proj", "q_proj"]},
                {"layers": ["q_proj", "q_proj"]},
                {"layers": [["q_proj"]]},
            )
        ),
        ({"forms": {"scale/roi": FORM, "scale/wsi": {**FORM, "alpha": 8}}}, "number"),
        ({"experts": ["router"]}, "never alone"),
        ({"expert_seed": -1}, "expert_seed"),
        ({"rollouts": 4}, "takes none"),
        ({"kl_beta": -0.1}, "kl_beta"),
        ({"mechanism": {}}, "mechanism"),
        ({"mechanism": None}, "mechanism"),
        ({"mechanism": {**PLAN.mechanism.to_dict(), "steps": 0}}, "steps"),
        ({"mechanism": {**PLAN.mechanism.to_dict(), "dropout": 0.1}}, "dropout"),
        ({"extra": 1}, "unknown"),
    ],
)
def test_a_plan_with_a_wrong_field_is_refused_by_its_name(changes: dict[str, Any], message: str) -> None:
    """Catches hostile or mistaken plans that would be half understood."""
    fields = {**json.loads(PLAN.to_bytes()), **changes}
    with pytest.raises(PlanError, match=message):
        Plan.from_bytes(canonical.encode(fields))


@pytest.mark.parametrize("name", list(json.loads(PLAN.to_bytes())))
def test_every_field_must_be_there(name: str) -> None:
    """Catches a default taken where the coordinator said nothing."""
    fields = json.loads(PLAN.to_bytes())
    del fields[name]
    with pytest.raises(PlanError, match=name):
        Plan.from_bytes(canonical.encode(fields))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"{" * 50_000,
        b"[" * 50_000,
        PLAN.to_bytes() + b" ",
        PLAN.to_bytes().replace(b'"round":1', b'"round":1,"round":1'),
        PLAN.to_bytes().replace(b'"alpha":8.0', b'"alpha":NaN'),
        PLAN.to_bytes().replace(b'"alpha":8.0', b'"alpha":1e999'),
        PLAN.to_bytes().replace(b'"expert_seed":0', b'"expert_seed":' + b"9" * 5000),
        b" " * (MAX_BYTES + 1),
    ],
)
def test_bytes_that_are_no_canonical_plan_are_refused(data: bytes) -> None:
    """Catches second spellings of a plan (two hashes for one meaning) and bytes that crash the reader."""
    with pytest.raises(PlanError):
        Plan.from_bytes(data)


@pytest.mark.parametrize("name", ["router", "scale/roi"])
def test_a_grpo_plan_trains_nothing_but_task_experts(name: str) -> None:
    """Catches what was frozen beneath the task experts moving in RL: it would be paid for, and sent, as if it had been
    asked for."""
    experts = tuple(sorted((*GRPO.experts, name)))
    with pytest.raises(PlanError, match=f"stage grpo trains task/.*, not {name}$"):
        replace(GRPO, experts=experts)


@pytest.mark.parametrize(
    "changes", [{"rollouts": 1}, {"max_answer_tokens": 0}, {"rollouts": 10**6}, {"experts": ("scale/roi",)}]
)
def test_a_grpo_plan_needs_its_own_fields(changes: dict[str, Any]) -> None:
    """Catches a group of one, whose advantages are all zero, and answers without end."""
    with pytest.raises(PlanError):
        replace(GRPO, **changes)


def test_only_the_coordinators_signature_for_plans_opens_a_plan(tmp_path: Path) -> None:
    """Catches a plan by a stranger, an altered one, and a signature made for something else."""
    key, stranger = keys.generate(tmp_path / "a"), keys.generate(tmp_path / "b")
    data, signature = PLAN.to_bytes(), PLAN.sign(key)
    assert Plan.open(data, signature, key.public) == PLAN
    for wrong in (PLAN.sign(stranger), key.sign(data, Purpose.RECEIPT), b"", signature[:-1]):
        with pytest.raises(SignatureInvalid):
            Plan.open(data, wrong, key.public)
    with pytest.raises(SignatureInvalid):
        Plan.open(data.replace(b'"round":1', b'"round":2'), signature, key.public)


def test_a_hospital_trains_the_plans_experts_that_it_allows() -> None:
    """Catches an expert trained against the policy, or one that the plan does not name."""
    assert GRPO.restricted({"task/vqa", "scale/roi"}) == ("task/vqa",)
    assert GRPO.restricted(()) == ()
    sft = replace(
        PLAN,
        experts=("router", "scale/roi", "scale/wsi"),
        experts_hash={**PLAN.experts_hash, "router": PARENT},
    )
    assert sft.restricted({"router", "scale/roi"}) == ("router", "scale/roi")
    assert sft.restricted({"router"}) == ()  # it learns from the samples of a scale


def test_a_plan_can_not_be_changed_after_it_was_judged() -> None:
    """Catches a plan whose hashes are swapped between the check and the training."""
    with pytest.raises(TypeError):
        PLAN.experts_hash["scale/roi"] = "x"  # type: ignore[index]
    with pytest.raises(TypeError):
        PLAN.forms["scale/roi"] = ExpertForm(64, 1.0)  # type: ignore[index]

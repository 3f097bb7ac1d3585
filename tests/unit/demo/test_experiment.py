"""Experiments are the federation's own rounds: the same patients, changes, aggregation and scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.model.base import Base
from client.model.experts import Experts
from demo.arms import Hospital, fresh, plan_of, start, train_stage
from demo.experiment import BASE_ARM, Change, Rows, aggregate_all, arm, by_expert, deal, results, train
from demo.recipe import Recipe as Trained
from demo.what_if import recipe as small
from strategies.aggregate import MEDIAN, Recipe
from tests.model_cases import Inputs, samples_of

SEED = 5


def one_round() -> Trained:
    """A step of which every patient is a part."""
    recipe = small(patients=2, rounds=1)
    (stage,) = recipe.stages
    mechanism = replace(stage.mechanism, sampling_rate=1.0, steps=1)
    return replace(recipe, stages=(replace(stage, mechanism=mechanism),))


@pytest.fixture(scope="module")
def house(tiny_base: Path) -> tuple[Experts, list[Hospital]]:
    """Three hospitals of one patient each; the last has no labels for whole slides."""
    experts = fresh(Base.load(tiny_base), one_round())
    inputs = Inputs(experts.base)
    named = (("a", "p1", experts.names), ("b", "p2", experts.names), ("c", "p3", ("scale/roi",)))
    return experts, [Hospital(name, samples_of(who), inputs, tuple(can), 1) for name, who, can in named]


def test_a_round_is_the_studys_round(house: tuple[Experts, list[Hospital]], tmp_path: Path) -> None:
    """Catches other draws or noise, a start that an earlier round has moved, and a mean over the wrong hospitals."""
    experts, hospitals = house
    recipe = one_round()
    (stage,) = recipe.stages
    state = start(experts)
    wanted = train_stage(experts, hospitals, state, stage, recipe, 1, SEED, tmp_path)
    plan = plan_of(experts, stage, recipe, 1)
    sent = [train(experts, hospital, state, plan, f"{SEED}/1") for hospital in hospitals]
    assert set(sent[2]) == {"scale/roi"}
    found = aggregate_all(state, by_expert(sent), Recipe(), plan)
    assert set(found) == set(wanted)
    for expert, tensors in wanted.items():
        for name, value in tensors.items():
            np.testing.assert_allclose(found[expert][name], value, rtol=1e-5, atol=1e-6)
    moved = {e for e, t in found.items() if any(not np.array_equal(v, state[e][n]) for n, v in t.items())}
    assert moved == set(stage.experts)


def test_rules_are_swapped_over_the_same_changes(house: tuple[Experts, list[Hospital]]) -> None:
    """Catches a rule that is passed on to nobody, and one that changes what it was given."""
    experts, hospitals = house
    recipe = one_round()
    plan, state = plan_of(experts, recipe.stages[0], recipe, 1), start(experts)
    sent = by_expert(train(experts, hospital, state, plan, "1") for hospital in hospitals)
    before = [v.copy() for change in sent["scale/roi"] for v in change.tensors.values()]
    mean, median = (
        aggregate_all(state, sent, rule, plan)["scale/roi"] for rule in (Recipe(), Recipe(MEDIAN))
    )
    assert any(not np.array_equal(mean[name], median[name]) for name in mean)
    for name in median:
        values = np.stack([change.tensors[name] for change in sent["scale/roi"]])
        np.testing.assert_allclose(
            median[name], state["scale/roi"][name] + np.median(values, axis=0), atol=1e-6
        )
    after = [v for change in sent["scale/roi"] for v in change.tensors.values()]
    assert all(map(np.array_equal, before, after))


def test_noise_variance_is_that_of_a_steps_mean(house: tuple[Experts, list[Hospital]]) -> None:
    """Catches weights by noise that go by another noise than was added."""
    experts, hospitals = house
    recipe = one_round()
    plan = plan_of(experts, recipe.stages[0], recipe, 1)
    change = train(experts, replace(hospitals[0], nominal_patients=4), start(experts), plan, "1")["scale/roi"]
    assert change.noise_variance == pytest.approx((1.0 * 0.5 / 4) ** 2)
    assert isinstance(change, Change)


def test_patients_are_dealt_whole_and_once(tiny_base: Path) -> None:
    """Catches a patient in two hospitals, one of the left out taken in, and a divisor of another number."""
    whole = Hospital("north", [s for n in range(7) for s in samples_of(f"p{n}")], lambda samples: [], (), 7)
    dealt = deal(whole, 3, 6)
    assert [one.name for one in dealt] == ["north-1", "north-2", "north-3"]
    patients = [sorted({s.patient for s in one.samples}) for one in dealt]
    assert patients == [["p0", "p3"], ["p1", "p4"], ["p2", "p5"]]
    assert all(one.nominal_patients == 2 for one in dealt)
    assert all(len(one.samples) == 2 * len(samples_of("p0")) for one in dealt)


def _rows(right: list[float]) -> Rows:
    patients: dict[str, Any] = {f"p{n}": [value, 1] for n, value in enumerate(right)}
    return [{"scale": "roi", "task": "vqa", "metric": "accuracy", "patients": patients}]


def test_intervals_are_paired_over_patients_and_mean_over_runs() -> None:
    """Catches patients resampled apart in two arms, or in two runs of the same patients, which makes intervals too narrow."""
    random = np.random.default_rng(0)
    base = [float(value) for value in random.integers(0, 2, 60)]
    better = [min(1.0, value + 0.25) for value in base]
    one, other = {"same": _rows(base), "better": _rows(better)}, {"same": _rows(base), "better": _rows(base)}
    found = results(_rows(base), {"1": one, "2": other})
    assert found.difference(arm("same", "1", "2"), BASE_ARM) == (0.0, 0.0, 0.0)
    single, both = (
        found.difference(arm("better", "1"), BASE_ARM),
        found.difference(arm("better", "1", "2"), BASE_ARM),
    )
    assert both == pytest.approx([value / 2 for value in single])  # one draw of patients for all runs
    assert single[1] < single[0] < single[2]

"""Hospitals of ranks 4, 8 and 16 in one expert: from their policies to what is committed, told and recomputed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy import tensors
from privacy.release import Expectation, check
from server.campaign import Campaign
from server.runner import run_campaign
from server.status import status, tables
from strategies.aggregate import MEDIAN, MULTI_KRUM, NORM_BOUND, TRIMMED_MEAN
from strategies.definition import Aggregation
from strategies.optimiser import ADAM, MOMENTUM, YOGI, Optimiser
from strategies.shrink import BY_TENSOR
from strategies.weighting import NOISE_MATCHED
from tests.federation.simulator import initial
from tests.federation.test_replay import hand_over
from tests.federation.test_rounds import CAMPAIGN, SFT, World, _plan, world
from tests.federation.test_sums import NAMES, SUMMING, acquainted

RANK = 16
SHAPES = {"x.lora_B": (24, RANK), "y.lora_B": (5, RANK), "projector.out.weight": (4, 6)}
RANKS = {"east": 4, "north": 8, "south": 16, "west": 32}  # south's and west's policies bind nothing here
WIDE = replace(CAMPAIGN, expert_rank=RANK, expert_alpha=2.0 * RANK, quorum=4)


def ranked(folder: Path, *more: str) -> World:
    """A hospital of each rank, and others without a bound."""
    here = world(folder, *RANKS, *more, **{name: {"max_rank": rank} for name, rank in RANKS.items()})
    for hospital in here.hospitals.values():
        hospital.shapes = SHAPES
    return here


def run(here: World, campaign: Campaign) -> None:
    run_campaign(here.house(), campaign, initial(SHAPES), "1")


def state(here: World, expert: str) -> dict[str, NDArray[np.float32]]:
    return tensors.decode(here.store.state(here.shown()["experts"][expert]), 10**6)


RECIPES: dict[str, dict[str, Any]] = {
    "a plain mean": {},
    "weights by noise, momentum": {
        "weighting": NOISE_MATCHED,
        "patients": dict.fromkeys(NAMES, 100),
        "optimiser": {"scale/roi": Optimiser(MOMENTUM, 0.5, 0.8)},
    },
    "a median, Yogi": {
        "aggregation": Aggregation(MEDIAN),
        "optimiser": {"scale/roi": Optimiser(YOGI, 0.01)},
    },
    "a trimmed mean, Adam": {
        "aggregation": Aggregation(TRIMMED_MEAN, 1),
        "optimiser": {"scale/roi": Optimiser(ADAM, 0.01)},
    },
    "a bounded mean": {"aggregation": Aggregation(NORM_BOUND)},
    "a shrunk mean": {"aggregation": Aggregation(shrinkage=BY_TENSOR)},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_a_campaign_of_mixed_ranks_is_committed_told_and_recomputed(
    tmp_path: Path, recipe: dict[str, Any]
) -> None:
    """Catches a release that is refused for its rank, and an auditor who puts columns elsewhere than the consortium."""
    here = ranked(tmp_path)
    run(here, replace(WIDE, **recipe))
    for row in here.shown()["rounds"]:
        assert {v["fault"] for v in row["verdicts"]} == {None}
        assert {v["hospital"] for v in row["verdicts"]} == set(RANKS)
        assert row["aggregates"]["scale/roi"]["ranks"] == {"east": 4, "north": 8}
    (_, _, rounds) = tables(status(here.home))
    (cell, _) = rounds.columns[-1].cells
    assert cell == ("east: releases of rank 4, north: releases of rank 8, south: releases, west: releases")
    code, found = hand_over(here, tmp_path / "handed").replayed()
    assert (code, found["valid"], found["findings"]) == (0, True, [])
    assert [sorted(row["same"]) for row in found["rounds"]] == [list(SFT.experts)] * 2


def test_each_column_is_the_mean_over_those_who_train_it(tmp_path: Path) -> None:
    """Catches a mean that is diluted by hospitals that left a column alone."""
    here = ranked(tmp_path)
    run(here, replace(WIDE, stages=(replace(SFT, rounds=1),)))
    changes = []
    for name, hospital in here.hospitals.items():
        expected = Expectation(
            _plan(here), {name: hospital.key.public}, {"scale/roi": SHAPES}, 10**6, 10**6, lower_ranks=True
        )
        changes.append(check(hospital._last["release/scale/roi"], expected).tensors)
    assert [change["x.lora_B"].shape[1] for change in changes] == [4, 8, 16, 16]
    after = state(here, "scale/roi")
    for tensor in ("x.lora_B", "y.lora_B"):
        for low, high in pairwise((0, 4, 8, 16)):
            own = [c[tensor][:, low:high] for c in changes if c[tensor].shape[1] >= high]
            wanted = 0.25 + np.mean([value.astype(np.float64) for value in own], axis=0)
            np.testing.assert_allclose(after[tensor][:, low:high], wanted, rtol=1e-6)
    wanted = 0.25 + np.mean([c["projector.out.weight"].astype(np.float64) for c in changes], axis=0)
    np.testing.assert_allclose(after["projector.out.weight"], wanted, rtol=1e-6)


def test_fewer_bytes_leave_at_a_lower_rank(tmp_path: Path) -> None:
    """Catches columns that travel as zeros."""
    here = ranked(tmp_path)
    run(here, WIDE)
    sizes = {v["hospital"]: v["bytes"] for v in here.shown()["rounds"][0]["verdicts"]}
    assert sizes["east"] < sizes["north"] < sizes["south"]
    assert sizes["south"] - sizes["north"] > 8 * (24 + 5)


def test_columns_that_nobody_trained_keep_their_bytes(tmp_path: Path) -> None:
    """Catches an expert whose last columns drift because its campaign's rank is above all hospitals'."""
    here = ranked(tmp_path)
    for name in ("south", "west"):
        here.hospitals[name].faults.silent = True
    run(here, replace(WIDE, quorum=2, optimiser={"scale/roi": Optimiser(ADAM, 0.01)}))
    after = state(here, "scale/roi")
    for tensor in ("x.lora_B", "y.lora_B"):
        assert np.all(after[tensor][:, 8:] == np.float32(0.25))
        assert np.all(after[tensor][:, :8] != np.float32(0.25))


def test_multi_krum_refuses_a_lower_rank_by_name(tmp_path: Path) -> None:
    """Catches distances over different columns; the hospitals of the whole rank go on by themselves."""
    here = ranked(tmp_path, "h1", "h2", "h3")
    run(
        here,
        replace(WIDE, quorum=5, aggregation=Aggregation(MULTI_KRUM, 1), stages=(replace(SFT, rounds=1),)),
    )
    assert {name: here.faults_of(1, name) for name in ("east", "north", "south", "h1")} == {
        "east": {"lower-rank"},
        "north": {"lower-rank"},
        "south": {None},
        "h1": {None},
    }
    (row,) = here.shown()["rounds"]
    assert "ranks" not in row["aggregates"]["scale/roi"]
    assert not row["aggregates"]["scale/roi"]["too_few"]


def test_a_sum_goes_on_without_a_hospital_of_a_lower_rank(tmp_path: Path) -> None:
    """Catches a share that lacks columns, and a hospital that pays before it says that it takes no part."""
    here = acquainted(tmp_path, *NAMES)
    low = here.hospitals["east"]
    low.sums.policy = low.policy = replace(low.policy, max_rank=1)
    run_campaign(here.house(), SUMMING, initial(), "1")
    assert here.faults_of(1, "east") == {"policy-rank"}
    assert {name: here.faults_of(1, name) for name in NAMES if name != "east"} == {
        name: {None} for name in NAMES if name != "east"
    }
    assert low.ledger.summary().events == ()

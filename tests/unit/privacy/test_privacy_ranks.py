"""Releases of a lower rank: which shapes are the first columns of an expert's B's, what is refused, what is never sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from privacy.clip import clip_and_sum
from privacy.codes import ReleaseFault
from privacy.delta import ExpertDelta
from privacy.descent import PrivateDescent
from privacy.egress import check_reply
from privacy.egress_record import RELEASE
from privacy.errors import EgressError, LedgerError, ReleaseRefused, SealError
from privacy.noise import add_noise
from privacy.randomness import SecureRandom
from privacy.ranks import Shape, first_columns, lower_rank
from privacy.release import Expectation, check, seal
from tests.privacy_cases import CODE, MECHANISM, PLAN, POLICY, SHAPES, Hospital, hospital
from tests.unit.privacy.test_privacy_release import Attack

WHOLE = SHAPES["scale/roi"]  # B's of 12 and 5 rows, rank 4
ROUTER = {"router.weight": (4, 96)}
F = ReleaseFault


@pytest.mark.parametrize(
    ("found", "whole", "rank"),
    [
        ({"a.lora_B": (12, 1), "b.lora_B": (5, 1)}, WHOLE, 1),
        ({"a.lora_B": (12, 3), "b.lora_B": (5, 3)}, WHOLE, 3),
        ({"c.lora_B": (6, 2), "bias": (6,)}, SHAPES["scale/wsi"], 2),
        (WHOLE, WHOLE, None),
        ({"a.lora_B": (12, 0), "b.lora_B": (5, 0)}, WHOLE, None),
        ({"a.lora_B": (12, 5), "b.lora_B": (5, 5)}, WHOLE, None),
        ({"a.lora_B": (12, 2), "b.lora_B": (5, 3)}, WHOLE, None),
        ({"a.lora_B": (12, 2), "b.lora_B": (5, 4)}, WHOLE, None),
        ({"a.lora_B": (11, 2), "b.lora_B": (5, 2)}, WHOLE, None),
        ({"a.lora_B": (2,), "b.lora_B": (2,)}, WHOLE, None),
        ({"a.lora_B": (), "b.lora_B": ()}, WHOLE, None),
        ({"a.lora_B": (12, 2)}, WHOLE, None),
        ({"a.lora_B": (12, 2), "b.lora_B": (5, 2), "more": (1,)}, WHOLE, None),
        ({"c.lora_B": (6, 2), "bias": (3,)}, SHAPES["scale/wsi"], None),
        ({"router.weight": (4, 48)}, ROUTER, None),
        ({"router.weight": (2, 96)}, ROUTER, None),
        ({}, WHOLE, None),
    ],
    ids=str,
)
def test_which_shapes_are_of_a_lower_rank(
    found: Mapping[str, Shape], whole: Mapping[str, Shape], rank: int | None
) -> None:
    """Catches a change that would be added to other columns than it was made of, or to none."""
    assert lower_rank(found, whole) == rank


def made(rank: int) -> dict[str, ExpertDelta]:
    """What a round of noise-only steps makes where this many columns train."""
    shapes = {f"scale/roi::{name}": shape for name, shape in first_columns(WHOLE, rank).items()}
    descent = PrivateDescent({name: torch.zeros(shape) for name, shape in shapes.items()}, 0.01)
    for _ in range(MECHANISM.steps):
        empty = {name: torch.zeros((0, *shape)) for name, shape in shapes.items()}
        descent.step(add_noise(clip_and_sum(empty, MECHANISM.clip_norm), MECHANISM, 100.0, SecureRandom()))
    return descent.deltas()


def release(north: Hospital, rank: int) -> bytes:
    """Sealed under a policy of this `max_rank`."""
    paid = north.ledger().reserve(PLAN, replace(POLICY, max_rank=rank), CODE)
    return seal(made(rank)["scale/roi"], paid, PLAN, "north", north.key)


@pytest.fixture
def north(tmp_path: Path) -> Hospital:
    return hospital(tmp_path)


def taking(north: Hospital) -> Expectation:
    """As the consortium expects releases, where its rule combines column by column."""
    return replace(north.expectation(), lower_ranks=True, max_norm=1.0)


def test_a_release_of_a_lower_rank_holds_its_columns_and_no_others(north: Hospital) -> None:
    """Catches columns filled up with zeros, which would count as that hospital's change; and bytes that do not fall."""
    data = release(north, 1)
    found = check(data, taking(north))
    assert {name: value.shape for name, value in found.tensors.items()} == first_columns(WHOLE, 1)
    assert all(np.all(value != 0) for value in found.tensors.values())
    with pytest.raises(ReleaseRefused) as caught:
        check(data, north.expectation())
    assert caught.value.code is F.LOWER_RANK


ONES = np.ones((1, 2), np.float32)
FULL = {"q/a.lora_B": np.full((12, 2), 127, np.int8), "s/a.lora_B": ONES}
ATTACKS = [
    Attack("rank-0", F.WRONG_SHAPE, header={"shapes": {"a.lora_B": [12, 0], "b.lora_B": [5, 0]}}),
    Attack("above-the-plans", F.WRONG_SHAPE, header={"shapes": {"a.lora_B": [12, 5], "b.lora_B": [5, 5]}}),
    Attack("ranks-that-differ", F.WRONG_SHAPE, header={"shapes": {"a.lora_B": [12, 2], "b.lora_B": [5, 1]}}),
    Attack("one-left-whole", F.WRONG_SHAPE, header={"shapes": {"a.lora_B": [12, 2], "b.lora_B": [5, 4]}}),
    Attack("rows-cut-too", F.WRONG_SHAPE, header={"shapes": {"a.lora_B": [11, 2], "b.lora_B": [5, 2]}}),
    Attack("said-whole", F.WRONG_SHAPE, header={"shapes": {"a.lora_B": [12, 4], "b.lora_B": [5, 4]}}),
    Attack("said-lower-still", F.WRONG_SHAPE, header={"shapes": {"a.lora_B": [12, 1], "b.lora_B": [5, 1]}}),
    Attack("more-columns-than-said", F.WRONG_SHAPE, add={"q/a.lora_B": np.ones((12, 4), np.int8)}),
    # 0.72 and 0.71 of the bound on a whole change, either side of sqrt(1/2) of it.
    Attack("long-for-its-values", F.NORM_TOO_LARGE, add={**FULL, "s/a.lora_B": ONES * 0.72 / 127 / 24**0.5}),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_each_attack_is_refused_by_its_name(north: Hospital, attack: Attack) -> None:
    """Catches a hostile release that passes for a lower rank, and one that moves its few values as far as a whole change
    may move all of them.
    """
    data, expected = release(north, 2), taking(north)
    check(data, expected)
    with pytest.raises(ReleaseRefused) as caught:
        check(attack(data, north.key), expected)
    assert caught.value.code is attack.code


def test_up_to_its_share_of_the_bound_it_is_taken(north: Hospital) -> None:
    """Catches a bound that refuses what an honest hospital of a lower rank may send."""
    quiet = {"q/b.lora_B": np.zeros((5, 2), np.int8), "s/b.lora_B": ONES * 0}
    just = Attack("", F.NORM_TOO_LARGE, add={**FULL, **quiet, "s/a.lora_B": ONES * 0.70 / 127 / 24**0.5})
    check(just(release(north, 2), north.key), taking(north))


def test_no_more_columns_than_the_policy_let_train_are_sealed(north: Hospital) -> None:
    """Catches training that passes the policy by: the last line before the signature."""
    paid = north.ledger().reserve(PLAN, replace(POLICY, max_rank=2), CODE)
    assert paid.max_rank == 2
    with pytest.raises(SealError, match="at most 2 columns"):
        seal(made(3)["scale/roi"], paid, PLAN, "north", north.key)
    seal(made(2)["scale/roi"], paid, PLAN, "north", north.key)


@pytest.mark.parametrize("rank", [1, 3, 4])
def test_exactly_the_policys_columns_pass_the_egress_guard(north: Hospital, rank: int) -> None:
    """Catches a guard that lets fewer or more columns out than the hospital said that it trains."""
    expected = replace(north.expectation(), shapes={"scale/roi": first_columns(WHOLE, 2)})
    reply = {RELEASE + "scale/roi": release(north, rank)}
    with pytest.raises(EgressError, match=r"wrong-shape|lower-rank"):
        check_reply(reply, POLICY, limit=10_000, epsilon=1.0, destination=north.key.public, expected=expected)


def test_what_paid_for_a_round_is_told_after_the_policy_has_changed(north: Hospital) -> None:
    """Catches an old round, asked for again, that is judged by the max_rank of a policy adopted since."""
    ledger = north.ledger()
    with pytest.raises(LedgerError, match="was not spent"):
        ledger.paid("spring", 1)
    paid = ledger.reserve(PLAN, replace(POLICY, max_rank=2), CODE)
    ledger.spend(paid, {"scale/roi": b"release"})
    ledger.adopt(replace(POLICY, max_rank=3))
    assert north.ledger().paid("spring", 1).max_rank == 2

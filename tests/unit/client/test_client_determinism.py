"""The same seed, the same draws, the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from client.agent import Agent
from privacy import tensors
from privacy.experts import same_form
from privacy.ledger.account import Reservation
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from tests.unit.client.conftest import SFT, Fixed, House

MakeHouse = Callable[..., House]
TASKS = ("task/classification", "task/vqa")


def sft(place: House) -> Plan:
    return place.plan(mechanism=Mechanism(1.0, 1.0, 0.7, 3, 3))


def grpo(place: House) -> Plan:
    changes: dict[str, Any] = {"rollouts": 4, "kl_beta": 0.04, "max_answer_tokens": 8}
    return place.plan(
        stage="grpo",
        experts=TASKS,
        experts_hash={name: tensors.digest(place.states[name]) for name in (*SFT, *TASKS)},
        forms=same_form((*SFT, *TASKS), 2, 4.0),
        mechanism=Mechanism(1.0, 1.0, 0.7, 2, 2),
        **changes,
    )


def release(agent: Agent, place: House, plan: Plan, reservation: Reservation) -> dict[str, bytes]:
    """What this agent seals for a reservation that is already made, from its first step on."""
    agent._checkpoints.sweep()
    return dict(agent._work.sealed_round(plan, place.request(plan), reservation))


@pytest.mark.parametrize("plan_of", [sft, grpo])
def test_the_same_seed_gives_the_same_release(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch, plan_of: Callable[[House], Plan]
) -> None:
    """Catches draws, rollouts or sums that depend on a clock, or on what was cached before (sets: test_training_determinism.py).

    The nonce, which is drawn anew for each release, is held fixed; another seed gives other bytes.
    """
    monkeypatch.setattr("privacy.release.secrets.token_hex", lambda count: "ab" * count)
    place = house()
    plan = plan_of(place)
    first = place.agent(Fixed(1))
    reservation = first._ledger.reserve(plan, place.home.policy, first._code_hash)
    sealed = release(first, place, plan, reservation)
    assert set(sealed) == set(plan.experts)
    assert release(place.agent(Fixed(1)), place, plan, reservation) == sealed
    assert release(place.agent(Fixed(2)), place, plan, reservation) != sealed

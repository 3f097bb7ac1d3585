"""What a new policy loosens, and what it tightens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from privacy.policy import Policy
from privacy.policy_changes import Direction, changes
from tests.privacy_cases import POLICY

LOOSER: list[tuple[str, Any]] = [
    ("epsilon_budget", 9.0),
    ("delta", 1e-4),
    ("minimum_noise_multiplier", 0.4),
    ("maximum_sampling_rate", 0.3),
    ("maximum_steps", 51),
    ("maximum_samples_per_patient", 9),
    ("tasks", ("classification", "detection", "vqa")),
    ("tasks", ("detection",)),  # one more, however many fewer
    ("public_data", True),
    ("minimum_evaluation_noise", 4.0),
    ("skip_bad_rows", True),
    ("distributed_trust", True),
    ("named_as", "St Elsewhere"),
]
TIGHTER: list[tuple[str, Any]] = [
    ("epsilon_per_campaign", 4.0),
    ("epsilon_per_day", 1.0),
    ("colluding", 2),
    ("campaigns", ("spring",)),
    ("scales", ("roi",)),
    ("gpu_memory_share", 0.5),
    ("approval", "manual"),
]
NIGHTS = replace(POLICY, hours=("mon-fri 19:00-07:00",), time_zone="UTC")


@pytest.mark.parametrize(("key", "value"), LOOSER)
def test_what_allows_more_loosens_and_back_again_tightens(key: str, value: Any) -> None:
    """Catches a limit that is raised without anybody being asked."""
    (change,) = changes(POLICY, replace(POLICY, **{key: value}))
    assert (change.key, change.direction) == (key, Direction.LOOSENS)


@pytest.mark.parametrize(("key", "value"), TIGHTER)
def test_what_allows_less_tightens_and_leaving_it_out_loosens(key: str, value: Any) -> None:
    """Catches an optional limit whose removal is taken for nothing, since there is no number to compare."""
    tight = replace(POLICY, **{key: value})
    assert [c.direction for c in changes(POLICY, tight)] == [Direction.TIGHTENS]
    assert [c.direction for c in changes(tight, POLICY)] == [Direction.LOOSENS]


def test_hours_are_compared_by_the_minute() -> None:
    """Catches hours that are longer by a minute, or elsewhere in the day, and pass for the same or for shorter."""

    def direction(before: Policy, after: Policy, key: str) -> Direction:
        return {c.key: c.direction for c in changes(before, after)}[key]

    assert direction(POLICY, NIGHTS, "hours") is Direction.TIGHTENS
    assert direction(NIGHTS, POLICY, "hours") is Direction.LOOSENS
    shorter = replace(NIGHTS, hours=("mon-thu 19:00-07:00", "fri 20:00-07:00"))
    assert direction(NIGHTS, shorter, "hours") is Direction.TIGHTENS
    later = replace(NIGHTS, hours=("mon-fri 19:01-07:01",))
    assert direction(NIGHTS, later, "hours") is Direction.LOOSENS
    assert direction(
        NIGHTS, replace(NIGHTS, hours=("mon-fri 19:00-24:00", "tue-sat 00:00-07:00")), "hours"
    ) is (Direction.CHANGES)
    assert direction(NIGHTS, replace(NIGHTS, time_zone="Asia/Tokyo"), "time_zone") is Direction.LOOSENS


def test_every_key_of_a_policy_has_a_direction() -> None:
    """Catches a key that is added to the policy, and whose change nobody can confirm."""
    from privacy import policy_changes

    assert set(policy_changes._ALLOWS_MORE) == set(Policy.__dataclass_fields__)


def test_what_is_the_same_is_no_change() -> None:
    """Catches a confirmation that is asked for nothing, until nobody reads it."""
    assert changes(POLICY, replace(POLICY)) == ()
    assert [c.direction for c in changes(POLICY, replace(POLICY, max_rank=4))] == [Direction.CHANGES]

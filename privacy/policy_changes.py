"""What a new policy loosens and what it tightens, key by key, against the one in force: for who must confirm it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from privacy.policy import Policy


class Direction(StrEnum):
    """Which way a change goes.  What does both, or can't be compared, loosens: it wants a confirmation."""

    LOOSENS = "loosens"
    TIGHTENS = "tightens"
    CHANGES = "changes"  # allows neither more nor less


@dataclass(frozen=True)
class Change:
    """One key that differs; values as the ledger records them."""

    key: str
    before: object
    after: object
    direction: Direction


def changes(before: Policy, after: Policy) -> tuple[Change, ...]:
    """Every key that differs, in the policy's order.  Read the other way round, what loosens alone tightens alone."""
    return tuple(_changes(before, after))


def _changes(before: Policy, after: Policy) -> Iterator[Change]:
    old, new = before.to_dict(), after.to_dict()
    for key in old:
        if old[key] != new[key]:
            more, less = _ALLOWS_MORE[key](before, after), _ALLOWS_MORE[key](after, before)
            direction = Direction.LOOSENS if more else Direction.TIGHTENS if less else Direction.CHANGES
            yield Change(key, old[key], new[key], direction)


AllowsMore = Callable[[Policy, Policy], bool]  # whether the second allows something that the first does not


def _higher(key: str, left_out: float = math.inf) -> AllowsMore:
    def more(before: Policy, after: Policy) -> bool:
        old, new = getattr(before, key), getattr(after, key)
        return (left_out if new is None else new) > (left_out if old is None else old)

    return more


def _lower(key: str) -> AllowsMore:
    higher = _higher(key)
    return lambda before, after: higher(after, before)


def _further(key: str) -> AllowsMore:
    return lambda before, after: not set(getattr(after, key)) <= set(getattr(before, key))


def _campaigns(before: Policy, after: Policy) -> bool:
    return "*" not in before.campaigns and _further("campaigns")(before, after)


def _longer(before: Policy, after: Policy) -> bool:
    if before.opening is None or after.opening is None:
        return before.opening is not None
    return not after.opening.minutes <= before.opening.minutes


def _shifted(before: Policy, after: Policy) -> bool:
    """Other hours than before, though the same on the wall's clock; all hours are all hours anywhere."""
    return before.hours is not None and after.hours is not None


def _neither(before: Policy, after: Policy) -> bool:
    return False


_ALLOWS_MORE: dict[str, AllowsMore] = {
    "hospital": _neither,
    "epsilon_budget": _higher("epsilon_budget"),
    "delta": _higher("delta"),
    "nominal_patients": _neither,  # divides what is noised already
    "minimum_noise_multiplier": _lower("minimum_noise_multiplier"),
    "maximum_sampling_rate": _higher("maximum_sampling_rate"),
    "maximum_steps": _higher("maximum_steps"),
    "maximum_samples_per_patient": _higher("maximum_samples_per_patient"),
    "tasks": _further("tasks"),
    "scales": _further("scales"),
    "campaigns": _campaigns,
    "public_data": _higher("public_data"),
    "epsilon_per_campaign": _higher("epsilon_per_campaign"),
    "epsilon_per_day": _higher("epsilon_per_day"),
    "minimum_evaluation_noise": _lower("minimum_evaluation_noise"),
    "skip_bad_rows": _higher("skip_bad_rows"),
    "distributed_trust": _higher("distributed_trust"),
    "colluding": _lower("colluding"),
    "max_rank": _neither,  # epsilon is the same at any rank
    "hours": _longer,
    "time_zone": _shifted,
    "gpu_memory_share": _higher("gpu_memory_share", left_out=1.0),
    "named_as": lambda before, after: after.named_as not in (None, before.named_as),
    "approval": lambda before, after: (before.approval, after.approval) == ("manual", "automatic"),
}

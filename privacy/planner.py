"""What a campaign will cost, before it is run: pure figures, from public settings and a hospital's events.

A round's price falls as others are spent beside it, so nothing here is added up: each figure is the epsilon of
a whole history, composed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privacy import accounting
from privacy.accounting import Composition
from privacy.mechanism import MECHANISM, Event


@dataclass(frozen=True)
class Outlook:
    """A hospital's budget, looking ahead under rounds of one kind.

    `spent` is the epsilon of its history; `after[n - 1]` that of the history and n rounds more; `rounds_left`
    how many rounds the budget holds, counted up to `counted_to`; `epsilon_budget` None where there is no budget
    to keep to (then `rounds_left` is None).  All at `delta`.
    """

    event: Event
    delta: float
    spent: float
    after: tuple[float, ...]
    epsilon_budget: float | None
    rounds_left: int | None
    counted_to: int

    @property
    def costs(self) -> tuple[float, ...]:
        """What each round adds to epsilon: the first the most, by far where nothing was spent before."""
        before = (self.spent, *self.after[:-1])
        return tuple(
            then - now if then < math.inf else math.inf for now, then in zip(before, self.after, strict=True)
        )


def outlook(
    event: Event,
    delta: float,
    rounds: int,
    spent: Sequence[Event] = (),
    epsilon_budget: float | None = None,
    counted_to: int = 1000,
) -> Outlook:
    """Look `rounds` rounds ahead, each spending `event`, after what was `spent`.

    Raises `ValueError` for a negative `rounds` or a delta outside (0, 1).
    """
    if rounds < 0:
        raise ValueError(f"rounds must not be negative, but is {rounds}")
    so_far = Composition.of(spent)
    after = tuple(so_far.plus(event, n).epsilon(delta) for n in range(1, rounds + 1))
    left = None
    if epsilon_budget is not None:
        left = accounting.rounds_left(so_far, event, epsilon_budget, delta, counted_to)
    return Outlook(event, delta, so_far.epsilon(delta), after, epsilon_budget, left, counted_to)


def noise_for(
    epsilon_target: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    rounds: int,
    spent: Sequence[Event] = (),
    mechanism: str = MECHANISM,
) -> float:
    """The least noise multiplier, to 0.1 %, under which `rounds` rounds keep the whole history to the target.

    Raises `ValueError` where no noise multiplier up to 10,000 does: the target is not above what was spent.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}")
    so_far = Composition.of(spent)
    return accounting.calibrate(sampling_rate, steps, epsilon_target, delta, so_far, rounds, mechanism)

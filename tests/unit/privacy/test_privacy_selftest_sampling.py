"""The self-test's judgement of draws and of rounds' sums, on tables of which the truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.selftest.sampling import ADDS_UP, LEVEL, accepted_entries, draw_findings, power, step_findings
from privacy.selftest.verdict import Check

STEPS, PATIENTS, RATE = 100, 1000, 0.3
Table = NDArray[np.bool_]


def coins(seed: int, rate: float = RATE) -> Table:
    return np.random.default_rng(seed).random((STEPS, PATIENTS)) < rate


def capped(table: Table) -> Table:
    """No draw holds more than the expected number."""
    return table & (table.cumsum(1) <= PATIENTS * RATE)


def padded(table: Table) -> Table:
    """No draw holds fewer than the expected number."""
    held = table.copy()
    for row in held:
        row[np.flatnonzero(~row)[: max(0, int(PATIENTS * RATE) - int(row.sum()))]] = True
    return held


def fixed_size(table: Table) -> Table:
    random = np.random.default_rng(0)
    row = np.arange(PATIENTS) < PATIENTS * RATE
    return np.stack([random.permutation(row) for _ in table])


def dealt_out(table: Table) -> Table:
    """Every patient takes part in as many steps as every other."""
    random = np.random.default_rng(0)
    column = np.arange(STEPS) < STEPS * RATE
    return np.stack([random.permutation(column) for _ in range(PATIENTS)], axis=1)


def one_always(table: Table) -> Table:
    held = table.copy()
    held[:, 7] = True
    return held


def one_never(table: Table) -> Table:
    held = table.copy()
    held[:, 7] = False
    return held


def every_draw_twice(table: Table) -> Table:
    return table[::2].repeat(2, axis=0)


def never_twice_in_a_row(table: Table) -> Table:
    held = table.copy()
    for step in range(1, len(held)):
        held[step] &= ~held[step - 1]
    return held


def holds_on(table: Table) -> Table:
    """A tenth of the patients keep the coin that fell for them in the step before."""
    held, keeps = table.copy(), np.random.default_rng(1).random(table.shape) < 0.1
    for step in range(1, len(held)):
        held[step] = np.where(keeps[step], held[step - 1], held[step])
    return held


def test_coins_give_no_finding() -> None:
    """Catches a check that cries wolf: three hundred right tables, at three rates."""
    for seed in range(300):
        rate = (0.05, 0.3, 0.8)[seed % 3]
        assert draw_findings(coins(seed, rate), rate, "sft") == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda table: coins(0, 1.1 * RATE), "at rate"),
        (lambda table: coins(0, 0.9 * RATE), "at rate"),
        (fixed_size, "sizes of draws"),
        (capped, "as if capped"),
        (padded, "as if padded"),
        (dealt_out, "patients' shares"),
        (lambda table: table[:1].repeat(STEPS, axis=0), "patients' shares"),
        (one_always, "1 patients took part"),
        (one_never, "1 patients took part"),
        (every_draw_twice, "shares"),
        (never_twice_in_a_row, "a draw shares"),
        (holds_on, "a draw shares"),
    ],
)
def test_each_wrong_draw_is_found(fault: Callable[[Table], Table], says: str) -> None:
    """Catches draws that are not independent coins of the charged rate, each by the test that is made for it."""
    found = draw_findings(fault(coins(3)), RATE, "sft")
    assert {finding.check for finding in found} == {Check.SAMPLING}
    assert any(says in finding.what for finding in found), [str(finding) for finding in found]


def test_the_stated_power_is_the_power() -> None:
    """Catches a power that is claimed and not had: where it lies well between none and all, it is counted over 2,000
    binomial numbers, within five standard errors. At the self-test's size, 10 % are as good as always found.
    """
    entries, ratio = 2000, 1.2
    stated = power(entries, RATE, ratio)
    low, high = accepted_entries(entries, RATE)
    sums = np.random.default_rng(7).binomial(entries, ratio * RATE, 2000)
    assert 0.2 < stated < 0.9
    assert (
        abs(float(((sums < low) | (sums > high)).mean()) - stated) < 5 * (stated * (1 - stated) / 2000) ** 0.5
    )
    assert power(entries, RATE, 1.0) <= LEVEL
    assert power(STEPS * PATIENTS, RATE, 1.1) > 1 - 1e-12
    assert power(STEPS * PATIENTS, RATE, 0.9) > 1 - 1e-12


WEIGHTS, UNIT = [0.4, 0.7, 1.0], 3.0


def change_of(table: Table) -> NDArray[np.float64]:
    return -UNIT * (np.array(WEIGHTS) @ table)


def test_a_round_that_adds_up_gives_no_finding() -> None:
    """Catches a check that finds fault with rounding, or with a round in which nobody took part."""
    table = coins(5)[:3]
    assert step_findings(table, WEIGHTS, change_of(table) * (1 + ADDS_UP / 2), UNIT, "round") == []
    nobody = np.zeros_like(table)
    assert step_findings(nobody, WEIGHTS, change_of(nobody), UNIT, "round") == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda table: change_of(table) * 0.99,  # another divisor
        lambda table: change_of(np.cumsum(table, axis=0)),  # each step holds those before it
        lambda table: -change_of(table),
        lambda table: np.where(np.arange(PATIENTS) == 2, UNIT, change_of(table)),
        lambda table: np.full(PATIENTS, np.nan),
    ],
    ids=["another divisor", "carried", "other sign", "one patient", "no numbers"],
)
def test_a_round_that_does_not_add_up_is_found(wrong: Callable[[Table], NDArray[np.float64]]) -> None:
    """Catches a sum carried from step to step, a divisor that is not the public one, and a NaN that passes."""
    table = coins(5)[:3]
    (found,) = step_findings(table, WEIGHTS, wrong(table), UNIT, "round")
    assert found.check == Check.STEPS

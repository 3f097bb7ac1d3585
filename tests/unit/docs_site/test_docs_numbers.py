"""Numbers of the page for a hospital's board, against the code that guards the budget."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from privacy.planner import noise_for

PAGE = (Path(__file__).parents[3] / "docs" / "concepts" / "privacy.md").read_text("utf-8")
STEPS, RATE, DELTA, FALSE_ALARMS = 200, 0.05, 1e-5, 0.01


def _rows() -> list[tuple[float, float, float, float, float]]:
    """Epsilon, odds, two suspicions in per cent, and what the best test finds in per cent."""
    lines = re.findall(
        r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \|$", PAGE, re.MULTILINE
    )
    return [tuple(map(float, line)) for line in lines]  # type: ignore[misc]


def _digits(value: float) -> float:
    """As the page rounds: two digits."""
    return float(f"{value:.2g}")


@pytest.mark.parametrize("row", _rows(), ids=lambda row: f"epsilon {row[0]:g}")
def test_what_an_epsilon_means_is_computed(row: tuple[float, float, float, float, float]) -> None:
    """Catches a promise to a board that the accountant does not make."""
    epsilon, odds, of_a_thousand, of_a_hundred, found = row
    assert odds == pytest.approx(math.exp(epsilon), rel=0.02)
    for said, before in ((of_a_thousand, 0.001), (of_a_hundred, 0.01)):
        after = math.exp(epsilon) * before / (1 - before + math.exp(epsilon) * before)
        assert said == _digits(100 * after)
    noise = noise_for(epsilon, DELTA, RATE, STEPS, 1)
    losses = pld.from_gaussian_mechanism(noise, sampling_prob=RATE).self_compose(STEPS)
    best = min(math.exp(e) * FALSE_ALARMS + losses.get_delta_for_epsilon(e) for e in np.linspace(0, 4, 81))
    assert found == pytest.approx(100 * best, rel=0.06)


def test_all_three_epsilons_are_there() -> None:
    """Catches a table that is written otherwise, and so not checked."""
    assert [row[0] for row in _rows()] == [1.0, 3.0, 8.0]

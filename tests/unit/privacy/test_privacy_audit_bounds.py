"""Lower bounds on epsilon: they see what they are known to see, and never more than is true."""

from __future__ import annotations

import math

import numpy as np
import pytest

from privacy import accounting
from privacy.audit_bounds import (
    Guesses,
    clopper_pearson_upper,
    gaussian_epsilon,
    guess,
    one_run_bound,
    one_run_gaussian_bound,
    repeated_releases_bound,
)
from privacy.mechanism import Event

DELTA = 1e-5


def mu_of(epsilon: float) -> float:
    """The Gaussian mechanism's mu whose epsilon is this, found by halving."""
    low, high = 0.0, 20.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_epsilon(middle, DELTA) < epsilon else (low, middle)
    return low


def repeated(epsilon: float, releases: int, random: np.random.Generator, confidence: float = 0.95) -> float:
    mu, each = mu_of(epsilon), releases // 2
    present, absent = random.normal(mu, 1, each), random.normal(0, 1, each)
    return repeated_releases_bound(present.tolist(), absent.tolist(), mu / 2, DELTA, confidence)


def one_run(epsilon: float, canaries: int, random: np.random.Generator) -> Guesses:
    included = random.random(canaries) < 0.5
    return guess(random.normal(0, 1, canaries) + mu_of(epsilon) * included, included, 0.1)


@pytest.mark.parametrize(("sigma", "steps"), [(4.0, 1), (1.0, 1), (2.0, 16)])
def test_gaussian_epsilon_agrees_with_the_accountant(sigma: float, steps: int) -> None:
    """Catches a slip in the formula: the ledger's PLD says the same of full-batch Gaussian steps."""
    ledger = accounting.epsilon([Event(sigma, 1.0, steps)], DELTA)
    assert gaussian_epsilon(math.sqrt(steps) / sigma, DELTA) == pytest.approx(ledger, abs=0.01)


def test_gaussian_epsilon_at_its_ends() -> None:
    """Catches a search that does not end, and a negative epsilon, where there is no or all information."""
    assert gaussian_epsilon(0.0, DELTA) == gaussian_epsilon(-1.0, DELTA) == 0.0
    assert gaussian_epsilon(1e-6, DELTA) == 0.0
    assert gaussian_epsilon(30.0, DELTA) == pytest.approx(30**2 / 2 + 30 * 4.265, abs=2)


@pytest.mark.parametrize(
    ("epsilon", "releases", "at_least"),
    [(8, 200, 2.5), (8, 1000, 5.6), (8, 5000, 7.1), (16, 200, 9.1), (16, 1000, 12.4), (16, 5000, 14.1)],
)
def test_repeated_releases_see_what_was_measured(epsilon: float, releases: int, at_least: float) -> None:
    """Catches a bound that lost its power: the median of 15 is at least what was measured when it was planned."""
    random = np.random.default_rng(0)
    found = [repeated(epsilon, releases, random) for _ in range(15)]
    assert at_least <= np.median(found) < epsilon


@pytest.mark.parametrize(
    ("canaries", "any_mechanism", "gaussian"), [(200, 1.6, 2.5), (1000, 2.5, 3.6), (5000, 3.1, 4.4)]
)
def test_one_run_sees_what_was_measured(canaries: int, any_mechanism: float, gaussian: float) -> None:
    """Catches a bound that lost its power: medians of 15 at a true epsilon of 8, and which of the two is tighter."""
    random = np.random.default_rng(1)
    runs = [one_run(8.0, canaries, random) for _ in range(15)]
    first = float(np.median([one_run_bound(run, DELTA, 0.95) for run in runs]))
    second = float(np.median([one_run_gaussian_bound(run, DELTA, 0.95) for run in runs]))
    assert any_mechanism < first < second < 8.0
    assert second > gaussian


def test_no_bound_is_above_the_truth_more_often_than_it_says() -> None:
    """Catches a bound that is wrong: of 300 runs at a true epsilon of 2, 5 % may exceed it, and 10 % must not.

    Were the true rate 15 %, this would show with probability over 0.99.
    """
    random = np.random.default_rng(2)
    runs = [one_run(2.0, 300, random) for _ in range(300)]
    above = {
        "one run": sum(one_run_bound(run, DELTA, 0.95) > 2.0 for run in runs),
        "one run, gaussian": sum(one_run_gaussian_bound(run, DELTA, 0.95) > 2.0 for run in runs),
        "repeated": sum(repeated(2.0, 300, random) > 2.0 for _ in range(300)),
    }
    assert all(count <= 30 for count in above.values()), above


@pytest.mark.parametrize("bound", [one_run_bound, one_run_gaussian_bound])
def test_guesses_no_better_than_chance_prove_nothing(bound) -> None:  # type: ignore[no-untyped-def]
    """Catches an epsilon made of luck, and a search that fails at the ends: none right, half right, all right."""
    assert bound(Guesses(1000, 100, 0), DELTA, 0.95) == 0.0
    assert bound(Guesses(1000, 100, 50), DELTA, 0.95) == 0.0
    assert bound(Guesses(1000, 100, 100), DELTA, 0.95) > 3.0


def test_more_right_guesses_never_prove_less() -> None:
    """Catches a bound that falls where evidence grows."""
    for bound in (one_run_bound, one_run_gaussian_bound):
        found = [bound(Guesses(500, 60, correct), DELTA, 0.95) for correct in range(30, 61, 3)]
        assert found == sorted(found)


def test_delta_weakens_a_bound_by_what_the_theorem_says() -> None:
    """Catches a correction for delta that is left out: with many canaries and a large delta nothing is left."""
    guesses = Guesses(1000, 100, 90)
    found = [one_run_bound(guesses, delta, 0.95) for delta in (1e-9, 1e-5, 1e-4, 1e-2)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 1.2
    assert found[-1] == 0.0


def test_the_one_run_bound_agrees_with_a_hand_computation() -> None:
    """Catches another reading of the theorem: 10 of 10 right of 10 canaries, delta tiny: p = (e^eps/(1+e^eps))^10."""
    bound = one_run_bound(Guesses(10, 10, 10), 1e-12, 0.95)
    rate = 0.05**0.1
    assert bound == pytest.approx(math.log(rate / (1 - rate)), abs=1e-3)


def test_clopper_pearson_limits_cover() -> None:
    """Catches limits on the wrong side: the exact chance of so few successes at the limit is the level."""
    assert clopper_pearson_upper(0, 100, 0.025) == pytest.approx(1 - 0.025**0.01)
    assert clopper_pearson_upper(100, 100, 0.025) == 1.0
    assert clopper_pearson_upper(5, 100, 0.025) == pytest.approx(0.1128, abs=1e-4)


def test_guesses_are_made_at_both_ends_and_counted_right() -> None:
    """Catches ends mixed up: of ten canaries the two highest are guessed in, the two lowest out."""
    scores = np.arange(10.0)
    included = np.array([False, True, False, False, False, False, False, False, True, True])
    assert guess(scores, included, 0.4) == Guesses(10, 4, 3)


@pytest.mark.parametrize("wrong", [(10, 5, 6), (4, 5, 3), (10, 0, 0), (10, 5, -1)])
def test_impossible_guesses_are_refused(wrong: tuple[int, int, int]) -> None:
    """Catches figures that would prove anything."""
    with pytest.raises(ValueError, match="guesses"):
        Guesses(*wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda: repeated_releases_bound([], [1.0], 0.5, DELTA, 0.95),
        lambda: repeated_releases_bound([1.0], [1.0], 0.5, 0.0, 0.95),
        lambda: one_run_bound(Guesses(10, 10, 10), DELTA, 1.0),
        lambda: one_run_gaussian_bound(Guesses(10, 10, 10), 1.5, 0.95),
    ],
)
def test_senseless_questions_are_refused(call) -> None:  # type: ignore[no-untyped-def]
    """Catches a delta or a confidence outside its range, and scores of one kind only."""
    with pytest.raises(ValueError, match=r"must|needed"):
        call()

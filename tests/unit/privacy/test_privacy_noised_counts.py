"""Noised counts: the table of `noised_counts`, row by row, its sensitivity, its noise and its estimates."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privacy.accounting import epsilon
from privacy.errors import MechanismError
from privacy.estimates import estimate
from privacy.evaluation import charge
from privacy.mechanism import Event
from privacy.noised_counts import Scores, noised_counts
from privacy.randomness import SecureRandom, SeededRandom

ROI, WSI = ("roi", "classification"), ("wsi", "vqa")
KINDS = (ROI, WSI)
NEARLY_NONE = 1e-6  # so little noise that rounding takes it away


def counts(patients: list[Scores], noise: float = NEARLY_NONE) -> tuple[tuple[int, ...], tuple[int, ...]]:
    found = noised_counts(KINDS, patients, noise, SecureRandom())
    return found.right, found.wrong


@pytest.mark.parametrize(
    ("patient", "right", "wrong"),
    [
        ({}, (0, 0), (0, 0)),
        ({("roi", "vqa"): [1.0]}, (0, 0), (0, 0)),
        ({ROI: []}, (0, 0), (0, 0)),
        ({ROI: [1.0]}, (10, 0), (0, 0)),
        ({ROI: [1.0] * 1000}, (10, 0), (0, 0)),
        ({ROI: [1.0, 0.0], WSI: [0.0]}, (5, 0), (5, 10)),
        ({ROI: [7.0, math.inf], WSI: [-3.0, -math.inf]}, (10, 0), (0, 10)),
        ({ROI: [math.nan]}, (0, 0), (10, 0)),
    ],
    ids=["nothing", "another-kind", "no-samples", "one", "a-thousand", "half", "out-of-range", "nan"],
)
def test_what_a_patient_adds(patient: Scores, right: tuple[int, ...], wrong: tuple[int, ...]) -> None:
    """Catches each row of the table (ten such patients, so that halves show in whole numbers)."""
    assert counts([patient] * 10) == (right, wrong)


def test_an_empty_cohort_is_noised_all_the_same() -> None:
    """Catches an answer that tells that there is nobody."""
    found = noised_counts(KINDS, [], 50.0, SecureRandom())
    assert any(found.right + found.wrong)
    assert found.noise_std == pytest.approx(50.0 * math.sqrt(2))


scores = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=4)
people = st.dictionaries(st.sampled_from([ROI, WSI, ("roi", "vqa")]), scores)


@given(st.lists(people, max_size=5), people)
def test_one_patient_moves_the_sum_by_at_most_the_sensitivity(cohort: list[Scores], one: Scores) -> None:
    """Catches samples counted one by one, or a norm over one kind only: the same noise (a seed) cancels out.

    Whole numbers are within a half, each, of what they round.
    """
    sums = [noised_counts(KINDS, people, 1.0, SeededRandom(1)) for people in ([*cohort, one], cohort)]
    moved = np.array(sums[0].right + sums[0].wrong) - np.array(sums[1].right + sums[1].wrong)
    assert np.linalg.norm(moved) <= math.sqrt(2) + 2 * math.sqrt(4) / 2


def test_each_count_has_the_noise_that_was_charged_for() -> None:
    """Catches noise at sigma instead of sigma sqrt(K), noise on one count only, and counts without noise.

    500 releases of four counts, level 1e-6: 2/3 or 3/2 of the truth is rejected with probability over 0.9999.
    """
    drawn = [noised_counts(KINDS, [{ROI: [1.0]}] * 30, 40.0, SecureRandom()) for _ in range(500)]
    values = np.array([found.right + found.wrong for found in drawn]) - np.array([30, 0, 0, 0])
    statistic = (values / (40.0 * math.sqrt(2))) ** 2
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], df=500)
    assert ((low < statistic.sum(0)) & (statistic.sum(0) < high)).all()
    for wrong in (2 / 3, 3 / 2):
        assert stats.chi2.cdf(high / wrong**2, 500) - stats.chi2.cdf(low / wrong**2, 500) < 1e-4


def test_what_it_spends_is_one_gaussian_step_over_everybody() -> None:
    """Catches a charge with a sampling rate, as if some patients had been left out."""
    found = noised_counts(KINDS, [], 4.0, SecureRandom())
    assert found.event == charge(4.0) == Event(4.0, 1.0, 1)
    assert epsilon([found.event], 1e-5) == pytest.approx(0.926, abs=0.02)
    assert found.secure
    assert not noised_counts(KINDS, [], 4.0, SeededRandom(0)).secure


@pytest.mark.parametrize(
    ("kinds", "noise", "message"),
    [
        ([], 1.0, "kinds"),
        ([WSI, ROI], 1.0, "sorted"),
        ([ROI, ROI], 1.0, "unique"),
        ([ROI], 0.0, "noise_multiplier"),
        ([ROI], -1.0, "noise_multiplier"),
        ([ROI], math.nan, "noise_multiplier"),
        ([ROI], math.inf, "noise_multiplier"),
    ],
)
def test_bare_or_senseless_counts_are_refused(
    kinds: list[tuple[str, str]], noise: float, message: str
) -> None:
    """Catches counts that would leave without noise."""
    with pytest.raises(MechanismError, match=message):
        noised_counts(kinds, [], noise, SecureRandom())


def test_nobody_else_makes_noised_counts() -> None:
    """Catches bare counts handed on as if they were noised."""
    with pytest.raises(MechanismError, match="noised_counts only"):
        replace(noised_counts(KINDS, [], 4.0, SecureRandom()), made_by=None)


@pytest.mark.parametrize(("right", "wrong"), [(180, 20), (100, 100), (30, 170), (0, 60)])
def test_the_interval_covers_as_often_as_it_says(right: int, wrong: int) -> None:
    """Catches an interval from a count taken as exact: 2,000 noised pairs, coverage 0.95 to within 0.02.

    At the range's end (a mean of 0) it covers 0.975, as half of what it misses lies outside [0, 1]. The binomial
    deviation is 0.005.
    """
    noise = 12.0
    draws = np.rint(np.array([right, wrong]) + noise * np.random.default_rng(5).normal(size=(2000, 2)))
    truth = right / (right + wrong)
    found = [estimate([(int(r), int(w), noise)]) for r, w in draws]
    covered = np.mean([e.ci95[0] - 5e-4 <= truth <= e.ci95[1] + 5e-4 for e in found])
    assert 0.93 < covered < 0.985
    assert abs(np.median([e.mean for e in found]) - truth) < 0.02


def test_estimates_at_their_ends() -> None:
    """Catches a division by nothing, and means outside [0, 1]."""
    assert estimate([(0, 0, 10.0)]).ci95 == (0.0, 1.0)
    assert estimate([(500, -20, 10.0)]).mean == 1.0
    assert estimate([(-90, 500, 10.0)]).ci95 == (0.0, 0.0)
    sure = estimate([(900, 100, 1.0)])
    assert sure.mean == 0.9
    assert sure.ci95[1] - sure.ci95[0] < 0.01
    assert sure.patients == 1000


def test_pooled_counts_cover_as_often_as_they_say() -> None:
    """Catches hospitals' noise that is not added up, or one hospital's that is taken for all: three hospitals of
    different noise, 2,000 draws, coverage 0.95 to within 0.02. Of no hospitals nothing is known.
    """
    truths, noises = [(90, 10), (40, 60), (20, 20)], [3.0, 6.0, 12.0]
    draws = np.random.default_rng(6).normal(size=(2000, 3, 2)) * np.array(noises)[None, :, None]
    found = [
        estimate(
            [(round(r + d[0]), round(w + d[1]), s) for (r, w), d, s in zip(truths, draw, noises, strict=True)]
        )
        for draw in draws
    ]
    truth = 150 / 240
    covered = np.mean([e.ci95[0] - 5e-4 <= truth <= e.ci95[1] + 5e-4 for e in found])
    assert 0.93 < covered < 0.97
    assert estimate([]).ci95 == (0.0, 1.0)

"""Means of products against dense matrices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from strategies.errors import AggregationError
from strategies.low_rank import (
    Factors,
    exact_mean,
    factor_mean,
    fedex_mean,
    refactored_mean,
    relative_error,
    truncated,
)

WEIGHTS = [1.0, 2.0, 0.5]


def factors(*ranks: int, layer: tuple[int, int] = (30, 20)) -> list[Factors]:
    random = np.random.default_rng(5)
    return [
        Factors(random.normal(size=(layer[0], rank)), random.normal(size=(rank, layer[1]))) for rank in ranks
    ]


def dense(one: Factors) -> np.ndarray:
    return one.b @ one.a


def mean_of(found: list[Factors]) -> np.ndarray:
    weighted = [weight * dense(one) for weight, one in zip(WEIGHTS, found, strict=True)]
    return np.sum(weighted, axis=0) / sum(WEIGHTS)


def test_the_exact_mean_is_that_of_the_products_whatever_the_ranks() -> None:
    """Catches a weight applied to both factors, and ranks that must be equal."""
    found = factors(4, 8, 16)
    np.testing.assert_allclose(dense(exact_mean(found, WEIGHTS)), mean_of(found), atol=1e-12)


@pytest.mark.parametrize("rank", [1, 4, 16, 28, 40])
def test_refactoring_is_the_nearest_of_its_rank(rank: int) -> None:
    """Catches a truncation that is not the best (Eckart and Young), and a rank above the product's own."""
    found = factors(4, 8, 16)
    u, values, vt = np.linalg.svd(mean_of(found), full_matrices=False)
    best = (u[:, :rank] * values[:rank]) @ vt[:rank]
    mine = refactored_mean(found, WEIGHTS, rank)
    assert mine.rank == rank
    np.testing.assert_allclose(dense(mine), best, atol=1e-10)


def test_a_refactored_product_has_one_form() -> None:
    """Catches factors whose signs hang on how the product was written: a mean of such factors would cancel."""
    (one,) = factors(4)
    again = Factors(
        one.b * np.array([2.0, -1.0, 0.5, -4.0]), one.a / np.array([2.0, -1.0, 0.5, -4.0])[:, None]
    )
    np.testing.assert_allclose(truncated(one, 4).b, truncated(again, 4).b, atol=1e-10)


def test_fedex_makes_the_factor_mean_exact() -> None:
    """Catches a residual of the wrong sign or weights."""
    found = factors(4, 4, 4)
    mean, residual = fedex_mean(found, WEIGHTS)
    np.testing.assert_allclose(dense(mean) + dense(residual), mean_of(found), atol=1e-12)
    assert relative_error(mean, exact_mean(found, WEIGHTS)) > 0.1


def test_with_a_shared_the_factor_mean_is_exact() -> None:
    """Why campaigns freeze A: the mean of the B's is then the mean of the products."""
    found = [Factors(one.b, factors(4)[0].a) for one in factors(4, 4, 4)]
    assert relative_error(factor_mean(found, WEIGHTS), exact_mean(found, WEIGHTS)) < 1e-12


def _fedex(found: list[Factors], weights: list[float]) -> np.ndarray:
    mean, residual = fedex_mean(found, weights)
    return dense(mean) + dense(residual)


# What every aggregator must hold to (tests/contract/test_aggregators.py), of these as functions of products.
MEANS: Mapping[str, Callable[[list[Factors], list[float]], np.ndarray]] = {
    "exact": lambda found, weights: dense(exact_mean(found, weights)),
    "factors": lambda found, weights: dense(factor_mean(found, weights)),
    "re-factored": lambda found, weights: dense(refactored_mean(found, weights, 4)),
    "FedEx": _fedex,
}
every_mean = pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS.keys())


@every_mean
def test_one_hospital_is_its_own_mean(mean: Callable[..., np.ndarray]) -> None:
    """Catches a mean that changes what needs no averaging."""
    (one,) = factors(4)
    np.testing.assert_allclose(mean([one], [3.0]), dense(one), atol=1e-12)


@every_mean
def test_neither_the_order_of_hospitals_nor_the_weights_unit_matters(mean: Callable[..., np.ndarray]) -> None:
    """Catches a weight that stays with its place, and weights that do not add up to one."""
    found = factors(4, 4, 4)
    wanted = mean(found, WEIGHTS)
    for order in itertools.permutations(range(3)):
        again = mean([found[i] for i in order], [7 * WEIGHTS[i] for i in order])
        np.testing.assert_allclose(again, wanted, atol=1e-12)


@every_mean
def test_what_comes_in_is_left_as_it_was(mean: Callable[..., np.ndarray]) -> None:
    """Catches a mean that scales its inputs in place."""
    found, before = factors(4, 4, 4), factors(4, 4, 4)
    mean(found, WEIGHTS)
    for one, was in zip(found, before, strict=True):
        np.testing.assert_array_equal(one.b, was.b)
        np.testing.assert_array_equal(one.a, was.a)


@pytest.mark.parametrize(
    "weights", [[], [1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]]
)
def test_what_does_not_fit_is_refused(weights: list[float]) -> None:
    """Catches weights that mean nothing, and factors of other layers or without a product."""
    with pytest.raises(AggregationError):
        exact_mean(factors(4, 4), weights)
    with pytest.raises(AggregationError):
        exact_mean([*factors(4), *factors(4, layer=(20, 30))], [1.0, 1.0])
    with pytest.raises(AggregationError):
        factor_mean(factors(4, 8), [1.0, 1.0])
    with pytest.raises(AggregationError):
        Factors(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(AggregationError):
        truncated(factors(4)[0], 0)

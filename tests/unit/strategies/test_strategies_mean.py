"""The weighted mean of deltas, against a plain calculation and against what it must refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.mechanism import Event
from privacy.release import Release
from strategies import mean
from strategies.errors import AggregationError

HASH = "0" * 64
START = {"a": np.full((2, 3), 1.0, np.float32), "b": np.zeros(2, np.float32)}


def release(values: float, std: float = 0.1, expert: str = "scale/roi", hospital: str = "north") -> Release:
    tensors = {name: np.full(value.shape, values, np.float32) for name, value in START.items()}
    return Release(
        hospital=hospital,
        key="0" * 16,
        campaign="spring",
        round=1,
        expert=expert,
        base_hash=HASH,
        parent_hash=HASH,
        plan_hash=HASH,
        code_hash=HASH,
        reservation=HASH,
        event=Event(1.0, 0.1, 2),
        noise_variance=std**2,
        shapes={name: value.shape for name, value in tensors.items()},
        nonce=HASH,
        tensors=tensors,
    )


@given(st.lists(st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(1e-3, 10)), min_size=1, max_size=8))
def test_is_the_weighted_mean_whatever_the_order(items: list[tuple[float, float]]) -> None:
    """Catches a wrong divisor, and a sum that depends on who answers first."""
    wanted = sum(value * weight for value, weight in items) / sum(weight for _, weight in items)
    for order in (items, items[::-1]):
        total = mean.init("scale/roi", START)
        for value, weight in order:
            total = mean.add(total, release(value), weight)
        new = mean.apply(total)
        np.testing.assert_allclose(new["a"], 1.0 + wanted, rtol=1e-5, atol=1e-4)
        assert new["a"].dtype == np.float32


def test_an_expert_that_nobody_trained_keeps_its_state() -> None:
    """Catches a division by nothing, and drift of an expert that took no part."""
    assert mean.apply(mean.init("scale/roi", START)) is START


def test_adding_leaves_the_sum_so_far_as_it_was() -> None:
    """Catches shared state: a refused release must not have changed the sum."""
    before = mean.add(mean.init("scale/roi", START), release(1.0), 1.0)
    kept = before.total["a"].copy()
    mean.add(before, release(5.0), 1.0)
    np.testing.assert_array_equal(before.total["a"], kept)


@pytest.mark.parametrize(
    ("odd", "weight"),
    [
        (release(1.0, expert="scale/wsi"), 1.0),
        (replace(release(1.0), tensors={"a": START["a"]}), 1.0),
        (replace(release(1.0), tensors={"a": START["a"].T, "b": START["b"]}), 1.0),
        (release(1.0), 0.0),
        (release(1.0), -1.0),
        (release(1.0), float("inf")),
        (release(1.0), float("nan")),
    ],
    ids=["other expert", "tensor missing", "other shape", "no weight", "negative", "infinite", "nan"],
)
def test_what_does_not_fit_is_refused(odd: Release, weight: float) -> None:
    """Catches broadcasting of a misshapen release, and weights that mean nothing."""
    with pytest.raises(AggregationError):
        mean.add(mean.init("scale/roi", START), odd, weight)


def test_noise_aware_weights_are_inverse_variances() -> None:
    """Catches weights by deviation instead of variance: of stds 1 and 2 the first counts four times."""
    assert mean.noise_aware(release(0, std=1.0)) == pytest.approx(4 * mean.noise_aware(release(0, std=2.0)))
    assert mean.equal(release(0, std=1.0)) == mean.equal(release(0, std=2.0))
    with pytest.raises(AggregationError):
        mean.noise_aware(release(0, std=0.0))

"""The order of a round's numbers: the same for who sends and for who reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from privacy.clip import clip_and_sum
from privacy.errors import MechanismError
from privacy.randomness import SecureRandom
from privacy.secagg.clipped_share import share_of
from privacy.secagg.grid import Grid
from privacy.secagg.layout import Layout
from privacy.secagg.shared_noise import SharedNoise

SHAPES = {"scale/wsi": {"b": (2, 3), "a": (4,)}, "scale/roi": {"z": (), "c": (1, 2)}}
LAYOUT = Layout(SHAPES)


def test_what_is_laid_out_is_read_back_whatever_the_order_it_is_named_in() -> None:
    """Catches an order that hangs on how a table happens to be sorted, and numbers read at another place than written."""
    values = {
        (expert, tensor): np.random.default_rng(1).normal(size=shape)
        for expert, of in SHAPES.items()
        for tensor, shape in of.items()
    }
    assert LAYOUT.size == 13
    vector = LAYOUT.flat(values)
    backwards = Layout({expert: dict(reversed(of.items())) for expert, of in reversed(SHAPES.items())})
    np.testing.assert_array_equal(backwards.flat(dict(reversed(values.items()))), vector)
    found = backwards.split(vector)
    for (expert, tensor), value in values.items():
        np.testing.assert_array_equal(found[expert][tensor], value)


def test_an_expert_that_is_not_trained_has_zeros() -> None:
    """Catches numbers that move up into the place of an expert which this hospital does not train."""
    found = LAYOUT.split(LAYOUT.flat({("scale/wsi", "a"): np.ones(4), ("scale/wsi", "b"): np.ones((2, 3))}))
    assert all((value == 0).all() for value in found["scale/roi"].values())
    assert all((value == 1).all() for value in found["scale/wsi"].values())


@pytest.mark.parametrize(
    "values",
    [
        {("scale/roi", "z"): np.zeros(())},  # c is missing
        {("scale/roi", "z"): np.zeros(()), ("scale/roi", "c"): np.zeros((2, 1))},
        {("scale/roi", "z"): np.zeros(()), ("scale/roi", "c"): np.zeros((1, 2), np.float32)},
        {
            ("scale/roi", "z"): np.zeros(()),
            ("scale/roi", "c"): np.zeros((1, 2)),
            ("task/vqa", "a"): np.zeros(1),
        },
    ],
)
def test_tensors_that_have_no_place_are_refused(values: dict[tuple[str, str], np.ndarray]) -> None:
    """Catches a part of a sum that is dropped or made up in silence."""
    with pytest.raises(MechanismError):
        LAYOUT.flat(values)
    with pytest.raises(MechanismError):
        LAYOUT.split(np.zeros(12))


def test_a_sum_clipped_to_another_norm_gets_no_share() -> None:
    """Catches noise that is computed for less than a patient may move the sum by."""
    gradients = {f"{e}::{t}": torch.ones((2, *shape)) for e, of in SHAPES.items() for t, shape in of.items()}
    noise = SharedNoise(Grid(2.0**-10, 1.0, LAYOUT.size, 10), 16, 2)
    share = share_of(clip_and_sum(gradients, 1.0), LAYOUT, noise, SecureRandom())
    assert (
        abs(share.whole * 2.0**-10 - 2 / 13**0.5).max() < 10 * 16 * 2.0**-10
    )  # ten standard deviations: never
    with pytest.raises(MechanismError, match="clipped to 2"):
        share_of(clip_and_sum(gradients, 2.0), LAYOUT, noise, SecureRandom())

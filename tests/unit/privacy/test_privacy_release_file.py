"""A release read from disk by rows: the very values that the check gave, whatever the tensors' shapes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from privacy.clip import clip_and_sum
from privacy.descent import PrivateDescent
from privacy.noise import add_noise
from privacy.randomness import SecureRandom
from privacy.release import Expectation, check, seal
from privacy.release_file import keep_release
from tests.privacy_cases import CODE, MECHANISM, PLAN, POLICY, hospital

SHAPES = {
    "tall": (40, 4),
    "wide": (3, 50),
    "square": (6, 6),
    "flat": (7,),
    "cube": (2, 3, 5),
    "one": (),
    "none": (0, 3),
}


@pytest.mark.parametrize("rows", [1, 2, 5, 1000])
def test_rows_are_what_was_checked_to_the_last_bit(tmp_path: Path, rows: int) -> None:
    """Catches a scale taken for another row's or column's, an offset that is off by a tensor, and tables that are not
    shared, or are shared with a release of other tensors.
    """
    north = hospital(tmp_path)
    plan = replace(PLAN, experts=("scale/roi",))
    descent = PrivateDescent({f"scale/roi::{n}": torch.zeros(s) for n, s in SHAPES.items()}, 0.01)
    random = SecureRandom()
    for _ in range(MECHANISM.steps):
        empty = {f"scale/roi::{n}": torch.zeros((0, *s)) for n, s in SHAPES.items()}
        descent.step(add_noise(clip_and_sum(empty, MECHANISM.clip_norm), MECHANISM, 100.0, random))
    data = seal(
        descent.deltas()["scale/roi"], north.ledger().reserve(plan, POLICY, CODE), plan, "north", north.key
    )
    expected = Expectation(plan, {"north": north.key.public}, {"scale/roi": SHAPES}, 10**6, math.inf)
    release = check(data, expected)
    path = tmp_path / "release"
    path.write_bytes(data)
    kept = keep_release(path, release)
    assert (kept.hospital, kept.expert, kept.noise_variance) == ("north", "scale/roi", release.noise_variance)
    assert dict(kept.shapes) == SHAPES
    for name, value in release.tensors.items():
        count = value.shape[0] if value.ndim else 1
        parts = [kept.rows(name, at, min(at + rows, count)) for at in range(0, count, rows)]
        read = np.concatenate([*parts, np.empty(0, np.float32)])
        assert read.tobytes() == value.tobytes(), name
    again = keep_release(path, release, like=kept)
    assert again == kept
    assert again.offsets is kept.offsets
    assert again.shapes is kept.shapes
    other = replace(kept, offsets={**kept.offsets, "q/tall": 7})
    assert keep_release(path, release, like=other) == kept

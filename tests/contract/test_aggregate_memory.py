"""Peak memory of a process that aggregates sealed releases from disk: flat from 8 to 256 hospitals."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from privacy.clip import clip_and_sum
from privacy.descent import PrivateDescent
from privacy.noise import add_noise
from privacy.randomness import SecureRandom
from privacy.release import seal
from strategies.gathered import STACK_BYTES
from tests.privacy_cases import CODE, MECHANISM, PLAN, POLICY, hospital

ROOT = Path(__file__).parents[2]
SHAPES = {f"layer{index}.lora_B": (2048, 16) for index in range(16)}  # 2 MiB in float32


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("north")
    north, plan = hospital(folder), replace(PLAN, experts=("scale/roi",))
    start = {f"scale/roi::{name}": torch.zeros(shape) for name, shape in SHAPES.items()}
    descent, random = PrivateDescent(start, plan.learning_rate), SecureRandom()
    for _ in range(MECHANISM.steps):
        empty = {name: torch.zeros((0, *value.shape)) for name, value in start.items()}
        descent.step(add_noise(clip_and_sum(empty, MECHANISM.clip_norm), MECHANISM, 100.0, random))
    paid = north.ledger().reserve(plan, POLICY, CODE)
    path = folder / "release"
    path.write_bytes(seal(descent.deltas()["scale/roi"], paid, plan, "north", north.key))
    return path


@pytest.mark.parametrize("rule", ["mean", "norm-bound", "median", "trimmed-mean", "multi-krum"])
def test_peak_memory_is_bounded_however_many_hospitals_release(release: Path, rule: str) -> None:
    """Catches a rule that holds all releases, which would take 500 MiB more at 256 hospitals: the budget is one stack of
    4 MiB in float32; a rule that sorts has a copy besides, multi-Krum one in float64.
    """
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-m", "tests.contract.aggregate_child", str(release), rule, str(count)],
                check=True,
                capture_output=True,
                cwd=ROOT,
            ).stdout
        )
        for count in (8, 256)
    ]
    assert peaks[1] - peaks[0] < 5 * STACK_BYTES, [peak >> 20 for peak in peaks]

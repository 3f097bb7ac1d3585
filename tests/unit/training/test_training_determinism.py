"""The same seed gives the same round, in whatever process."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from client.model.base import Base
from client.training import grpo
from client.training.round import train_round
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.model_cases import GRPO, SFT, Inputs, fresh, plan, samples_of

NAMES = ("ash", "birch", "cedar", "elm", "fir")


def _rounds(folder: Path) -> tuple[int, list[str]]:
    """A name's hash in this process, which orders sets, and sha256 of the deltas of a round of each stage."""
    torch.set_num_threads(1)
    base = Base.load(folder)
    patients = [sample for name in NAMES for sample in samples_of(name)]
    found = []
    for stage, names in (("sft", SFT), ("grpo", GRPO)):
        extra = {} if stage == "sft" else {"rollouts": 3, "kl_beta": 0.04, "max_answer_tokens": 8}
        asked = plan(base.hash, stage, Mechanism(1.0, 1.0, 0.7, 2, 3), names, **extra)
        with patch.object(grpo, "reward", lambda task, text, sample: sum(text.encode()) % 11 / 10):
            deltas = train_round(
                fresh(base),
                names,
                patients,
                Inputs(base),
                asked,
                5,
                SeededRandom(1),
                lambda done, of: None,
            )
        digest = hashlib.sha256()
        for name in sorted(deltas):
            for key, value in sorted(deltas[name].tensors.items()):
                digest.update(f"{name} {key}".encode() + value.tobytes())
        found.append(digest.hexdigest())
    return hash(NAMES[0]), found


def test_a_round_is_the_same_in_a_process_of_another_hash_seed(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches draws, rollouts, batches or sums that follow the order of a set, which one process never changes: names
    hash otherwise in the next."""
    monkeypatch.setenv("PYTHONHASHSEED", "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        meanwhile = pool.apply_async(_rounds, (tiny_base,))
        hashed, here = _rounds(tiny_base)
        otherwise, there = meanwhile.get(timeout=300)
    assert otherwise != hashed
    assert there == here

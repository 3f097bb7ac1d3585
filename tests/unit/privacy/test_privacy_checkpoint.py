"""A step's checkpoint: the same descent after as before, and nothing else ever passes for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from privacy import checkpoint, keys
from privacy.clip import clip_and_sum
from privacy.descent import PrivateDescent, StepState
from privacy.errors import CheckpointError, MechanismError, SealError
from privacy.ledger.account import Reservation
from privacy.noise import add_noise
from privacy.randomness import RandomSource, SecureRandom, SeededRandom
from privacy.release import seal
from tests.privacy_cases import CODE, MECHANISM, PLAN, POLICY, SHAPES, Hospital, hospital, round_of

START = {f"{e}::{n}": torch.ones(shape) for e, tensors in SHAPES.items() for n, shape in tensors.items()}


def walk(descent: PrivateDescent, steps: int, random: RandomSource) -> PrivateDescent:
    empty = {name: torch.zeros((0, *value.shape)) for name, value in START.items()}
    for _ in range(steps):
        descent.step(add_noise(clip_and_sum(empty, MECHANISM.clip_norm), MECHANISM, 100.0, random))
    return descent


def fresh() -> PrivateDescent:
    return PrivateDescent(START, 0.01)


@pytest.fixture
def place(tmp_path: Path) -> Hospital:
    return hospital(tmp_path)


@pytest.fixture
def reservation(place: Hospital) -> Reservation:
    return place.ledger().reserve(PLAN, POLICY, CODE)


def test_a_resumed_descent_is_the_one_that_was_interrupted(place: Hospital, reservation: Reservation) -> None:
    """Catches lost momentum, a bias correction that starts anew, and a delta from another start: bit for bit."""
    whole = walk(fresh(), MECHANISM.steps, SeededRandom(1))
    random = SeededRandom(1)
    descent = fresh()
    for _ in range(MECHANISM.steps):
        walk(descent, 1, random)
        data = checkpoint.encode(descent.state(), reservation, place.key)
        state = checkpoint.decode(data, reservation, place.key.public)
        descent = PrivateDescent.resumed(START, 0.01, state)
    for expert, delta in whole.deltas().items():
        ours = descent.deltas()[expert]
        assert all((ours.tensors[name] == value).all() for name, value in delta.tensors.items())
        assert (ours.noise_std, ours.mechanism, ours.steps, ours.secure) == (
            delta.noise_std,
            delta.mechanism,
            delta.steps,
            delta.secure,
        )
    with pytest.raises(MechanismError, match=r"all \d+ steps"):
        walk(descent, 1, random)


def test_noise_that_can_be_repeated_stays_marked(place: Hospital, reservation: Reservation) -> None:
    """Catches a way to seal what a seeded generator noised: through a checkpoint."""
    first = walk(fresh(), 1, SeededRandom(1)).state()
    data = checkpoint.encode(first, reservation, place.key)
    resumed = PrivateDescent.resumed(START, 0.01, checkpoint.decode(data, reservation, place.key.public))
    deltas = walk(resumed, MECHANISM.steps - 1, SecureRandom()).deltas()
    name = PLAN.experts[0]
    with pytest.raises(SealError):
        seal(deltas[name], reservation, PLAN, "north", place.key)


def _flip(position: int) -> Callable[[bytes], bytes]:
    def flipped(data: bytes) -> bytes:
        at = position % len(data)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return flipped


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "magic alone": lambda data: data[:4],
    "cut in the signature": lambda data: data[:40],
    "cut short": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "magic": _flip(0),
    "signature": _flip(10),
    "header": _flip(90),
    "weights": _flip(-1),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_damaged_checkpoint_is_refused_by_name(
    place: Hospital, reservation: Reservation, name: str
) -> None:
    """Catches a bit flip that trains on."""
    data = checkpoint.encode(walk(fresh(), 1, SecureRandom()).state(), reservation, place.key)
    with pytest.raises(CheckpointError):
        checkpoint.decode(SPOILT[name](data), reservation, place.key.public)


def test_a_checkpoint_serves_its_own_reservation_and_key_only(
    place: Hospital, reservation: Reservation, tmp_path: Path
) -> None:
    """Catches steps of one charge that are released under another: free steps."""
    data = checkpoint.encode(walk(fresh(), 1, SecureRandom()).state(), reservation, place.key)
    ledger = place.ledger()
    ledger.void(reservation)
    again = ledger.reserve(PLAN, POLICY, CODE)
    other = ledger.reserve(round_of(PLAN.round + 1), POLICY, CODE)
    stranger = keys.generate(tmp_path / "stranger.key")
    for held in (again, other):
        with pytest.raises(CheckpointError, match="another reservation"):
            checkpoint.decode(data, held, place.key.public)
    with pytest.raises(CheckpointError):
        checkpoint.decode(data, reservation, stranger.public)


def test_a_state_comes_from_a_descent_only() -> None:
    """Catches weights that nobody noised, on their way to a seal."""
    state = walk(fresh(), 1, SecureRandom()).state()
    with pytest.raises(MechanismError, match="StepState"):
        StepState(dict(START), dict(START), dict(START), 1, 0.1, MECHANISM, True, object())
    with pytest.raises(MechanismError, match="no step"):
        fresh().state()
    for part in ("now", "first", "second"):
        with pytest.raises(MechanismError, match="other parameters"):
            PrivateDescent.resumed(START, 0.01, replace(state, **{part: {}}))
    longer = replace(MECHANISM, steps=MECHANISM.steps + 1)
    resumed = PrivateDescent.resumed(START, 0.01, replace(state, mechanism=longer))
    with pytest.raises(MechanismError, match="mechanism changed"):
        walk(resumed, 1, SecureRandom())

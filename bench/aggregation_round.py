"""A made-up round for `bench.aggregation`: changes of honest length, and the signed releases that carry them.

Values are Gaussian of the plan's own noise, as a change is where noise drowns the signal. Everything is seeded but keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from bench.weighting import EXPERT, PLAN, Change
from privacy import canonical, tensors
from privacy.keys import PrivateKey, PublicKey, Purpose
from privacy.payload import pack
from privacy.release import MAGIC, Header
from strategies.aggregate import MULTI_KRUM, TRIMMED_MEAN, Recipe
from strategies.intake import Intake, Terms
from strategies.noise import delta_noise

HOSTILE = 2  # hospitals that trimmed-mean and multi-krum bear


@dataclass(frozen=True)
class Size:
    """Of one expert: so many matrices (LoRA B), and how many hospitals train it."""

    tensors: int
    rows: int
    columns: int
    hospitals: int

    @property
    def bytes(self) -> int:
        """Of a change in float32."""
        return 4 * self.tensors * self.rows * self.columns

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """By name."""
        return {f"t{number:03}.lora_B": (self.rows, self.columns) for number in range(self.tensors)}


FULL, SMALL = Size(336, 2048, 16, 8), Size(8, 256, 16, 8)


def change(size: Size, number: int) -> Change:
    """What a hospital of this number changes."""
    random, scale = np.random.default_rng(number), np.float32(np.sqrt(delta_noise(PLAN).variance))
    values = {name: random.standard_normal(shape, np.float32) * scale for name, shape in size.shapes.items()}
    return Change(name_of(number), values, 0.01 * (1 + number % 4))


def name_of(number: int) -> str:
    """A hospital's name."""
    return f"h{number:03}"


def start(size: Size) -> dict[str, NDArray[np.float32]]:
    """The expert before the round."""
    return {name: np.zeros(shape, np.float32) for name, shape in size.shapes.items()}


def recipe_of(rule: str) -> Recipe:
    """The plainest recipe of a rule."""
    return Recipe(rule, HOSTILE if rule in (TRIMMED_MEAN, MULTI_KRUM) else 0)


def header(
    shapes: Mapping[str, tuple[int, ...]], hospital: str, key: PublicKey, noise_variance: float
) -> Header:
    """What a release of the round states."""
    digest = canonical.digest(hospital.encode())
    return Header(
        hospital=hospital,
        key=key.fingerprint,
        campaign=PLAN.campaign,
        round=PLAN.round,
        expert=EXPERT,
        base_hash=PLAN.base_hash,
        parent_hash=PLAN.experts_hash[EXPERT],
        plan_hash=PLAN.hash,
        code_hash=digest,
        reservation=digest,
        event=PLAN.event(),
        noise_variance=noise_variance,
        shapes=shapes,
        nonce=digest,
    )


def sealed(size: Size, hospitals: int, key: PrivateKey) -> Iterator[bytes]:
    """A signed release of each hospital, as `privacy.release.seal` writes it; of them, `size.hospitals` changes differ."""
    few = [change(size, number) for number in range(min(hospitals, size.hospitals))]
    for number in range(hospitals):
        found = few[number % len(few)]
        told = header(found.shapes, name_of(number), key.public, found.noise_variance)
        payload = pack(found.tensors, told.to_bytes().decode(), told.nonce)
        yield MAGIC + key.sign(payload, Purpose.RELEASE) + payload


def intake(size: Size, rule: str, keys: Sequence[PublicKey], keep: Callable[[bytes], Path]) -> Intake:
    """A round's intake under the plainest recipe of a rule; one key for each hospital."""
    terms = Terms(
        plan=PLAN,
        states={EXPERT: tensors.encode(start(size))},
        keys={name_of(number): (key,) for number, key in enumerate(keys)},
        recipes={EXPERT: recipe_of(rule)},
    )
    return Intake(terms, keep)


def new_key() -> PrivateKey:
    """A release key; the bench's hospitals share one."""
    return PrivateKey(Ed25519PrivateKey.generate())

"""Which weights and which shrinkage make the most of unequal noise: the real noise and descent, on a made-up gradient.

    python -m bench.weighting [--json]

All hospitals see one mean gradient. In each of 8 steps each adds its own noise (`privacy.noise`) and steps
(`privacy.descent`); their changes are averaged by `strategies.aggregate`. A hospital is told by how large the gradient is
over its noise, a coordinate: with sampling rate q and N patients that goes with q N. Told is the cosine of the mean change
with the gradient, over 20,000 coordinates: what part of the step leads where it should. Then, over random consortia of two
to fifteen hospitals, from drowned in noise to far above it: what each weighting gains over equal weights on the mean, and
what it loses at worst. Everything is seeded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from bench import command
from privacy.clip import clip_and_sum
from privacy.descent import PrivateDescent
from privacy.experts import same_form
from privacy.mechanism import Mechanism
from privacy.noise import add_noise
from privacy.plan import Plan
from privacy.randomness import SeededRandom
from strategies.aggregate import Recipe, aggregate
from strategies.gathered import gather
from strategies.shrink import BY_ROW, BY_TENSOR
from strategies.weighting import EQUAL, NOISE_AWARE, NOISE_MATCHED, NOISE_TEMPERED, Weighting

EXPERT = "scale/roi"
TENSORS, ROWS, COLUMNS = 10, 125, 16
STEPS, RATE, REPEATS = 8, 0.01, 4
CONSORTIA = 300
_DIGEST = "0" * 64
PLAN = Plan(
    campaign="weighting",
    round=1,
    stage="sft",
    experts=(EXPERT,),
    mechanism=Mechanism(1.0, 1.0, 0.1, STEPS, 1),
    learning_rate=RATE,
    base_hash=_DIGEST,
    experts_hash={EXPERT: _DIGEST},
    forms=same_form((EXPERT,), COLUMNS, 16.0),
    expert_seed=0,
)
RECIPES = {
    EQUAL: Recipe(),
    NOISE_AWARE: Recipe(weighting=Weighting(NOISE_AWARE)),
    NOISE_MATCHED: Recipe(weighting=Weighting(NOISE_MATCHED)),
    NOISE_TEMPERED: Recipe(weighting=Weighting(NOISE_TEMPERED)),
    "equal, shrunk by tensor": Recipe(shrinkage=BY_TENSOR),
    "equal, shrunk by row": Recipe(shrinkage=BY_ROW),
}


@dataclass(frozen=True)
class Case:
    """Hospitals by gradient over noise, and in what share of tensors, and of their rows, there is a gradient at all."""

    name: str
    ratios: tuple[float, ...]
    tensors: float = 1.0
    rows: float = 1.0


CASES = (
    Case("eight alike, drowned in noise", (0.1,) * 8),
    Case("one four times the seven others", (0.4, *(0.1,) * 7)),
    Case("one large, fifteen small", (0.8, *(0.05,) * 15)),
    Case("one four times the thirty others", (0.4, *(0.1,) * 30)),
    Case("two, one ten times the other", (0.5, 0.05)),
    Case("from small to large, drowned", tuple(np.geomspace(0.02, 0.2, 8).tolist())),
    Case("from small to large, about the noise", tuple(np.geomspace(0.2, 2.0, 8).tolist())),
    Case("from small to large, above the noise", tuple(np.geomspace(2.0, 20.0, 8).tolist())),
    Case("a gradient in two tensors of ten", (0.3,) * 8, tensors=0.2),
    Case("a gradient in one row of ten", (0.3,) * 8, rows=0.1),
)


@dataclass(frozen=True)
class Change:
    """A hospital's change in memory (`strategies.gathered.Contribution`)."""

    hospital: str
    tensors: dict[str, NDArray[np.float32]]
    noise_variance: float
    expert: str = EXPERT

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of its tensors."""
        return {name: value.shape for name, value in self.tensors.items()}

    def rows(self, tensor: str, start: int, stop: int) -> NDArray[np.float32]:
        """Rows, flat."""
        return self.tensors[tensor][start:stop].reshape(-1)


def gradient(case: Case, seed: int) -> dict[str, torch.Tensor]:
    """The one mean gradient: of norm 1, Gaussian where it is not 0."""
    random = np.random.default_rng(seed)
    found = {}
    for index in range(TENSORS):
        value = random.normal(size=(ROWS, COLUMNS))
        value[random.random(ROWS) >= case.rows] = 0.0
        found[f"{EXPERT}::t{index}"] = value * (index < case.tensors * TENSORS)
    norm = math.sqrt(sum(float((value**2).sum()) for value in found.values()))
    return {name: torch.from_numpy((value / norm).astype(np.float32)) for name, value in found.items()}


def change(hospital: str, steps: Sequence[dict[str, torch.Tensor]], deviation: float, seed: int) -> Change:
    """What a hospital makes of one mean gradient a step, with noise of this deviation a coordinate."""
    mechanism = replace(PLAN.mechanism, noise_multiplier=deviation, steps=len(steps))
    descent = PrivateDescent({name: torch.zeros_like(value) for name, value in steps[0].items()}, RATE)
    random = SeededRandom(seed)
    for one in steps:
        clipped = clip_and_sum({name: value[None] for name, value in one.items()}, mechanism.clip_norm)
        descent.step(add_noise(clipped, mechanism, 1.0, random))
    return Change(hospital, dict(descent.deltas()[EXPERT].tensors), deviation**2)


def changes(case: Case, seed: int) -> tuple[dict[str, torch.Tensor], list[Change]]:
    """The gradient, and what every hospital makes of it."""
    towards = gradient(case, seed)
    size = TENSORS * ROWS * COLUMNS
    return towards, [
        change(f"h{index:02}", [towards] * STEPS, 1.0 / math.sqrt(size) / ratio, 1000 * seed + index)
        for index, ratio in enumerate(case.ratios)
    ]


def cosine(recipe: Recipe, towards: dict[str, torch.Tensor], found: list[Change]) -> float:
    """Of the aggregate with the way down the gradient."""
    start = {name: np.zeros(value.shape, np.float32) for name, value in found[0].tensors.items()}
    state = aggregate(gather(EXPERT, start, found), recipe, PLAN).state
    inner = sum(float((-towards[f"{EXPERT}::{name}"].numpy() * value).sum()) for name, value in state.items())
    norm = math.sqrt(sum(float(np.square(value, dtype=np.float64).sum()) for value in state.values()))
    return inner / norm if norm > 0 else 0.0


def table(cases: Sequence[Case] = CASES, repeats: int = REPEATS) -> dict[str, dict[str, float]]:
    """For each case the mean cosine under each recipe."""
    found: dict[str, dict[str, float]] = {}
    for case in cases:
        drawn = [changes(case, seed) for seed in range(repeats)]
        found[case.name] = {
            name: sum(cosine(recipe, *one) for one in drawn) / repeats for name, recipe in RECIPES.items()
        }
    return found


def consortium(seed: int) -> Case:
    """Random hospitals about a random middle; every fourth time all alike but for one that is two to fifteen times as large."""
    random = np.random.default_rng(seed)
    count, middle = int(random.integers(2, 16)), math.exp(random.uniform(math.log(0.05), math.log(8.0)))
    ratios = middle * np.exp(random.normal(0.0, random.uniform(0.2, 1.6), count))
    if seed % 4 == 0:
        ratios = np.array([middle * random.uniform(2, 15), *(middle,) * (count - 1)])
    return Case(f"consortium {seed}", tuple(ratios.tolist()))


@dataclass(frozen=True)
class Gain:
    """Over equal weights, relative, in the cosine."""

    mean: float
    worst: float


def gains(seeds: Sequence[int]) -> dict[str, Gain]:
    """What each weighting by noise gains over equal weights in these random consortia."""
    weightings = (NOISE_AWARE, NOISE_MATCHED, NOISE_TEMPERED)
    found: dict[str, list[float]] = {name: [] for name in weightings}
    for seed in seeds:
        drawn = changes(consortium(seed), seed)
        equal = cosine(RECIPES[EQUAL], *drawn)
        for name in weightings:
            found[name].append(cosine(RECIPES[name], *drawn) / equal - 1.0)
    return {name: Gain(sum(values) / len(values), min(values)) for name, values in found.items()}


def main() -> None:
    """Print both tables."""
    asked = command.options(__doc__).parse_args()
    found, gained = table(), gains(range(CONSORTIA))
    if asked.json:
        print(json.dumps({"cosines": found, "gains": {name: asdict(gain) for name, gain in gained.items()}}))
        return
    print(f"{'':38}" + "".join(f"{name:>25}" for name in RECIPES))
    for case, row in found.items():
        print(f"{case:38}" + "".join(f"{value:25.4f}" for value in row.values()))
    print(f"\nagainst equal weights, over {CONSORTIA} random consortia")
    for name, gain in gained.items():
        print(f"  {name:16} {gain.mean:+.2%} on the mean, {gain.worst:+.2%} at worst")


if __name__ == "__main__":
    main()

"""Contributions in memory, every recipe in a table, and what each must come to: written plainly, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from strategies import shrink
from strategies.aggregate import MEDIAN, MULTI_KRUM, NORM_BOUND, TRIMMED_MEAN, Recipe
from strategies.noise import delta_noise, noise_norm
from strategies.optimiser import ADAM, MOMENTUM, YOGI, Optimiser
from strategies.weighting import DECLARED, NOISE_AWARE, NOISE_MATCHED, Weighting
from tests.privacy_cases import PLAN as ANY_PLAN

PLAN = replace(ANY_PLAN, learning_rate=0.01)
EXPERT = "scale/roi"
SHAPES: Mapping[str, tuple[int, ...]] = {
    "tall": (40, 4),
    "wide": (3, 50),
    "flat": (7,),
    "cube": (2, 3, 5),
    "one": (),
}
SIZE = sum(math.prod(shape) for shape in SHAPES.values())
NAMES = ("east", "north", "north-2", "south", "west", "a", "z9")

Values = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Told:
    """A contribution that lies in memory; its arrays can't be written to."""

    hospital: str
    tensors: Mapping[str, NDArray[np.float32]]
    noise_variance: float = 0.01
    expert: str = EXPERT

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: value.shape for name, value in self.tensors.items()}

    def rows(self, tensor: str, start: int, stop: int) -> NDArray[np.float32]:
        value = self.tensors[tensor]
        return (value.reshape(1) if value.ndim == 0 else value)[start:stop].reshape(-1)


def start(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """An expert's state that can't be written to."""
    random = np.random.default_rng(seed)
    return {name: fixed(random.normal(size=shape)) for name, shape in SHAPES.items()}


def told(hospital: str, seed: int, scale: float = 0.01, variance: float = 0.01) -> Told:
    """A change of about `scale` a value."""
    random = np.random.default_rng([seed, *hospital.encode()])
    tensors = {name: fixed(random.normal(0.1 * scale, scale, size=shape)) for name, shape in SHAPES.items()}
    return Told(hospital, tensors, variance)


def round_of(seed: int, names: Sequence[str] = NAMES) -> list[Told]:
    """A round's contributions, of several lengths and stated variances."""
    return [
        told(name, seed, 0.006 * (1 + index % 3), 0.01 / (1 + index) ** 2) for index, name in enumerate(names)
    ]


def fixed(value: object) -> NDArray[np.float32]:
    """As float32, read-only."""
    array = np.array(value, np.float32)
    array.flags.writeable = False
    return array


# --- references: lists of whole changes in, one change out

Changes = Sequence[Told]
Reference = Callable[[Changes], Values]


def _wide(change: Told) -> Values:
    return {name: value.astype(np.float64) for name, value in change.tensors.items()}


def _stacked(changes: Changes) -> dict[str, NDArray[np.float64]]:
    return {name: np.stack([_wide(change)[name] for change in changes]) for name in SHAPES}


def _flat(change: Told) -> NDArray[np.float64]:
    return np.concatenate([_wide(change)[name].ravel() for name in SHAPES])


def mean_by(weight: Callable[[Told], float]) -> Reference:
    def mean(changes: Changes) -> Values:
        total = sum(weight(change) for change in changes)
        return {
            name: np.asarray(sum(weight(change) * _wide(change)[name] for change in changes)) / total
            for name in SHAPES
        }

    return mean


def _norm_bound(changes: Changes) -> Values:
    most = noise_norm(PLAN, SIZE)
    short = [
        replace(c, tensors={n: v * min(1.0, most / np.linalg.norm(_flat(c))) for n, v in _wide(c).items()})
        for c in changes
    ]
    return mean_by(lambda change: 1.0)(short)


def _median(changes: Changes) -> Values:
    return {name: np.median(values, axis=0) for name, values in _stacked(changes).items()}


def _trimmed(changes: Changes) -> Values:
    return {name: np.sort(values, axis=0)[1:-1].mean(axis=0) for name, values in _stacked(changes).items()}


def _krum(changes: Changes) -> Values:
    """f = 1: the n - 3 changes with the least sum of squared distances to their n - 3 nearest."""
    kept = len(changes) - 3
    scores = []
    for mine in changes:
        away = sorted(
            float(np.sum((_flat(mine) - _flat(other)) ** 2)) for other in changes if other is not mine
        )
        scores.append(sum(away[:kept]))
    chosen = [change for _, change in sorted(zip(scores, changes, strict=True), key=lambda pair: pair[0])]
    return mean_by(lambda change: 1.0)(chosen[:kept])


def _shrunk(by: str) -> Reference:
    def shrunk(changes: Changes) -> Values:
        variance = delta_noise(PLAN).variance / len(changes)
        found = {}
        for name, value in mean_by(lambda change: 1.0)(changes).items():
            groups = list(value) if by == shrink.BY_ROW and value.ndim else [value]
            kept = [
                group
                if np.size(group) < 3
                else group * max(0.0, 1 - (np.size(group) - 2) * variance / float(np.sum(np.square(group))))
                for group in groups
            ]
            found[name] = np.array(kept).reshape(value.shape)
        return found

    return shrunk


@dataclass(frozen=True)
class Case:
    """A recipe; what the change of a round must be; and what becomes of an expert that one hospital alone trained:
    "its" (the change is that hospital's), "kept" (the rule needs more), or "other".
    """

    name: str
    recipe: Recipe
    change: Reference
    alone: str


WEIGHTS = {name: 1.0 + index / 3 for index, name in enumerate(NAMES)}
_equal = mean_by(lambda change: 1.0)
CASES = (
    Case("mean", Recipe(), _equal, "its"),
    Case(
        "declared",
        Recipe(weighting=Weighting(DECLARED, WEIGHTS)),
        mean_by(lambda c: WEIGHTS[c.hospital]),
        "its",
    ),
    Case(
        "noise-aware",
        Recipe(weighting=Weighting(NOISE_AWARE)),
        mean_by(lambda c: 1 / c.noise_variance),
        "its",
    ),
    Case(
        "noise-matched",
        Recipe(weighting=Weighting(NOISE_MATCHED)),
        mean_by(lambda c: c.noise_variance**-0.5),
        "its",
    ),
    Case("norm-bound", Recipe(rule=NORM_BOUND), _norm_bound, "its"),
    Case("median", Recipe(rule=MEDIAN), _median, "its"),
    Case("trimmed-mean", Recipe(rule=TRIMMED_MEAN, hostile=1), _trimmed, "kept"),
    Case("multi-krum", Recipe(rule=MULTI_KRUM, hostile=1), _krum, "kept"),
    Case("shrunk by tensor", Recipe(shrinkage=shrink.BY_TENSOR), _shrunk(shrink.BY_TENSOR), "other"),
    Case("shrunk by row", Recipe(shrinkage=shrink.BY_ROW), _shrunk(shrink.BY_ROW), "other"),
    Case("momentum", Recipe(optimiser=Optimiser(MOMENTUM, 0.5, 0.8)), _equal, "other"),
    Case("adam", Recipe(optimiser=Optimiser(ADAM, 0.01, 0.8, 0.9, 0.002)), _equal, "other"),
    Case("yogi", Recipe(optimiser=Optimiser(YOGI, 0.01)), _equal, "other"),
    Case("median, then yogi", Recipe(rule=MEDIAN, optimiser=Optimiser(YOGI, 0.01)), _median, "other"),
)


def campaign(case: Case, rounds: Sequence[Changes]) -> Values:
    """The state after these rounds, by the book: Reddi et al.'s algorithm 2 over the changes of the case."""
    how = case.recipe.optimiser
    state = {name: value.astype(np.float64) for name, value in start().items()}
    first = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    second = {name: np.full(shape, how.tau**2) for name, shape in SHAPES.items()}
    for changes in rounds:
        if len(changes) < case.recipe.combining.least:
            continue
        for name, change in case.change(changes).items():
            if how.kind == MOMENTUM:
                first[name] = how.beta1 * first[name] + change
                state[name] = state[name] + how.learning_rate * first[name]
            elif how.kind in (ADAM, YOGI):
                first[name] = how.beta1 * first[name] + (1 - how.beta1) * change
                square = change**2
                second[name] = (
                    how.beta2 * second[name] + (1 - how.beta2) * square
                    if how.kind == ADAM
                    else second[name] - (1 - how.beta2) * square * np.sign(second[name] - square)
                )
                state[name] = state[name] + how.learning_rate * first[name] / (
                    np.sqrt(second[name]) + how.tau
                )
            else:
                state[name] = state[name] + change
    return state

"""Contributions in memory, every recipe in a table, and what each must come to: written plainly, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.ranks import is_b
from strategies import shrink
from strategies.aggregate import MEDIAN, MULTI_KRUM, NORM_BOUND, TRIMMED_MEAN, Recipe
from strategies.noise import delta_noise, lengths
from strategies.optimiser import ADAM, MOMENTUM, YOGI, Optimiser
from strategies.weighting import DECLARED, NOISE_AWARE, NOISE_MATCHED, NOISE_TEMPERED, Weighting
from tests.privacy_cases import PLAN as ANY_PLAN

PLAN = replace(ANY_PLAN, learning_rate=0.01)
EXPERT = "scale/roi"
SHAPES: Mapping[str, tuple[int, ...]] = {
    "tall": (40, 4),
    "wide": (3, 50),
    "flat": (7,),
    "cube": (2, 3, 5),
    "one": (),
    "x.lora_B": (30, 8),
    "y.lora_B": (5, 8),
}
NAMES = ("east", "north", "north-2", "south", "west", "a", "z9")
MANY = (
    *NAMES,
    *(f"h{number:02}" for number in range(14)),
)  # more than are summed before a sum goes to float64

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

    def of_rank(self, rank: int) -> Told:
        """The same of its first columns alone."""
        return replace(
            self, tensors={n: fixed(v[:, :rank]) if is_b(n) else v for n, v in self.tensors.items()}
        )


def start(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """An expert's state that can't be written to."""
    random = np.random.default_rng(seed)
    return {name: fixed(random.normal(size=shape)) for name, shape in SHAPES.items()}


def nothing() -> dict[str, NDArray[np.float32]]:
    """An expert's state of zeros, which takes up a change without rounding it away."""
    return {name: fixed(np.zeros(shape)) for name, shape in SHAPES.items()}


def told(hospital: str, seed: int, scale: float = 0.01, variance: float = 0.01) -> Told:
    """A change of about `scale` a value."""
    random = np.random.default_rng([seed, *hospital.encode()])
    tensors = {name: fixed(random.normal(0.1 * scale, scale, size=shape)) for name, shape in SHAPES.items()}
    return Told(hospital, tensors, variance)


def round_of(seed: int, names: Sequence[str] = NAMES) -> list[Told]:
    """A round's contributions, of several stated variances and lengths: most of them longer than noise alone."""
    return [
        told(name, seed, 0.008 * (1 + index % 3), 0.01 / (1 + index) ** 2) for index, name in enumerate(names)
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
    return {name: np.stack([_wide(change)[name] for change in changes]) for name in changes[0].tensors}


def _flat(change: Told) -> NDArray[np.float64]:
    return np.concatenate([value.ravel() for value in _wide(change).values()])


def mean_by(weight: Callable[[Told], float]) -> Reference:
    def mean(changes: Changes) -> Values:
        total = sum(weight(change) for change in changes)
        return {
            name: np.asarray(sum(weight(change) * _wide(change)[name] for change in changes)) / total
            for name in changes[0].tensors
        }

    return mean


def _as_they_are(changes: Changes) -> Changes:
    return changes


def _shortened(changes: Changes) -> Changes:
    """Each to the norm of noise alone in as many values as it has."""
    found = []
    for change in changes:
        flat = _flat(change)
        kept = min(1.0, float(lengths(PLAN, [flat.size]).noise[0]) / float(np.linalg.norm(flat)))
        short: Any = {name: value * kept for name, value in _wide(change).items()}
        found.append(replace(change, tensors=short))
    return found


def _tempered(changes: Changes) -> Changes:
    """Each with 128 mean squares of the gradient, to three digits, on top of its stated variance."""
    told, most = [], (PLAN.learning_rate * PLAN.mechanism.steps) ** 2
    for change in changes:
        mean_square, noise = float(np.mean(_flat(change) ** 2)), delta_noise(PLAN).variance
        signal = max(mean_square - noise, 0.0) / max(most - mean_square, 1e-3 * most)
        told.append(signal * change.noise_variance)
    power = float(f"{np.median(told):.3g}")
    return [replace(change, noise_variance=change.noise_variance + 128 * power) for change in changes]


def _median(changes: Changes) -> Values:
    return {name: np.median(values, axis=0) for name, values in _stacked(changes).items()}


def _trimmed(changes: Changes) -> Values:
    return {name: np.sort(values, axis=0)[1:-1].mean(axis=0) for name, values in _stacked(changes).items()}


def _chosen(changes: Changes) -> Changes:
    """f = 1: the n - 3 changes with the least sum of squared distances to their n - 3 nearest."""
    kept = len(changes) - 3
    scores = []
    for mine in changes:
        away = sorted(
            float(np.sum((_flat(mine) - _flat(other)) ** 2)) for other in changes if other is not mine
        )
        scores.append(sum(away[:kept]))
    chosen = [change for _, change in sorted(zip(scores, changes, strict=True), key=lambda pair: pair[0])]
    return chosen[:kept]


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
    "its" (the change is that hospital's), "kept" (the rule needs more), or "other". `before` is done to a round's
    changes, as wholes, before they are combined.
    """

    name: str
    recipe: Recipe
    change: Reference
    alone: str
    before: Callable[[Changes], Changes] = _as_they_are


WEIGHTS = {name: 1.0 + index / 3 for index, name in enumerate(MANY)}
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
    Case(
        "noise-tempered",
        Recipe(weighting=Weighting(NOISE_TEMPERED)),
        mean_by(lambda c: c.noise_variance**-0.5),
        "its",
        _tempered,
    ),
    Case("norm-bound", Recipe(rule=NORM_BOUND), _equal, "its", _shortened),
    Case("median", Recipe(rule=MEDIAN), _median, "its"),
    Case("trimmed-mean", Recipe(rule=TRIMMED_MEAN, hostile=1), _trimmed, "kept"),
    Case("multi-krum", Recipe(rule=MULTI_KRUM, hostile=1), _equal, "kept", _chosen),
    Case("shrunk by tensor", Recipe(shrinkage=shrink.BY_TENSOR), _shrunk(shrink.BY_TENSOR), "other"),
    Case("shrunk by row", Recipe(shrinkage=shrink.BY_ROW), _shrunk(shrink.BY_ROW), "other"),
    Case("momentum", Recipe(optimiser=Optimiser(MOMENTUM, 0.5, 0.8)), _equal, "other"),
    Case("adam", Recipe(optimiser=Optimiser(ADAM, 0.01, 0.8, 0.9, 0.002)), _equal, "other"),
    Case("yogi", Recipe(optimiser=Optimiser(YOGI, 0.01)), _equal, "other"),
    Case("median, then yogi", Recipe(rule=MEDIAN, optimiser=Optimiser(YOGI, 0.01)), _median, "other"),
)


def campaign(case: Case, rounds: Sequence[Changes], first_state: Mapping[str, NDArray[np.float32]]) -> Values:
    """The state after these rounds, by the book: Reddi et al.'s algorithm 2 over the changes of the case.

    Columns of a B that the same hospitals train are taken for a tensor of their own, which these alone train.
    """
    how = case.recipe.optimiser
    state = {name: np.array(value, np.float64) for name, value in first_state.items()}
    first = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    second = {name: np.full(shape, how.tau**2) for name, shape in SHAPES.items()}
    for changes in rounds:
        for name, where, change in _changed(case, changes):
            if how.kind == MOMENTUM:
                first[name][where] = how.beta1 * first[name][where] + change
                state[name][where] += how.learning_rate * first[name][where]
            elif how.kind in (ADAM, YOGI):
                first[name][where] = how.beta1 * first[name][where] + (1 - how.beta1) * change
                square, before = change**2, second[name][where]
                second[name][where] = (
                    how.beta2 * before + (1 - how.beta2) * square
                    if how.kind == ADAM
                    else before - (1 - how.beta2) * square * np.sign(before - square)
                )
                root = np.sqrt(second[name][where]) + how.tau
                state[name][where] += how.learning_rate * first[name][where] / root
            else:
                state[name][where] += change
    return state


def _changed(case: Case, changes: Changes) -> Iterator[tuple[str, Any, NDArray[np.float64]]]:
    """What of each tensor changes, and by how much; nothing of what fewer hospitals train than the rule needs.

    Columns that the same hospitals train are one group of values to a shrinkage.
    """
    least = case.recipe.combining.least
    ready = case.before(changes) if len(changes) >= least else []
    for name in SHAPES:
        columns = {change.hospital: change.tensors[name].shape[-1] if is_b(name) else 0 for change in changes}
        ends = sorted(set(columns.values()))
        parts: list[tuple[int, Any]] = [(0, ...)]
        if is_b(name):
            parts = [(high, (..., slice(low, high))) for low, high in pairwise([0, *ends])]
        for high, where in parts:
            own = [
                replace(change, tensors={name: change.tensors[name][where]})
                for change in ready
                if columns[change.hospital] >= high
            ]
            if own and sum(held >= high for held in columns.values()) >= least:
                yield name, where, case.change(own)[name]

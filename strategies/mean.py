"""Weighted mean of expert deltas, one release at a time, in constant memory.

An algorithm is three pure functions over explicit state (after fedjax' FedAvg): `init`, `add`, `apply`. Under
FFA-LoRA (Sun et al., arXiv 2403.12313: A frozen and public, only B travels) the mean of the B's is the mean
of the products, so the plain mean is exact.

Experts are apart: an expert is averaged over the hospitals that trained it this round, and one that nobody
trained stays as it was. Weights never depend on private counts: `equal`, or `noise_aware`, the inverse of the
noise variance that each release states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.release import Release
from strategies.errors import AggregationError

State = Mapping[str, NDArray[np.float32]]
Weighting = Callable[[Release], float]


@dataclass(frozen=True)
class Accumulator:
    """The running sum for one expert: `total` is the weighted sum of deltas (float64) over `count`
    releases.
    """

    expert: str
    start: State
    total: Mapping[str, NDArray[np.float64]]
    weight: float = 0.0
    count: int = 0


def init(expert: str, start: State) -> Accumulator:
    """Begin a round for `expert` from its present state."""
    return Accumulator(
        expert, start, {name: np.zeros(value.shape, np.float64) for name, value in start.items()}
    )


def add(so_far: Accumulator, release: Release, weight: float) -> Accumulator:
    """The sum with one checked release more; `so_far` is left as it was.

    Raises `AggregationError` where the release is another expert's, has other tensors or shapes, or where the
    weight is not finite and above 0: such a release must be refused, by name, before it comes here.
    """
    if release.expert != so_far.expert:
        raise AggregationError(f"a release of {release.expert} was added to {so_far.expert}")
    shapes = {name: value.shape for name, value in release.tensors.items()}
    if shapes != {name: value.shape for name, value in so_far.start.items()}:
        raise AggregationError(
            f"{release.hospital}'s {release.expert} has other tensors or shapes: check it first"
        )
    if not (math.isfinite(weight) and weight > 0):
        raise AggregationError(f"weight {weight} for {release.hospital}: must be finite and above 0")
    total = {
        name: value + weight * release.tensors[name].astype(np.float64)
        for name, value in so_far.total.items()
    }
    return Accumulator(so_far.expert, so_far.start, total, so_far.weight + weight, so_far.count + 1)


def apply(gathered: Accumulator) -> State:
    """The expert's new state, float32: start + weighted mean delta; the start itself where nobody trained
    it.
    """
    if gathered.count == 0:
        return gathered.start
    return {
        name: (value.astype(np.float64) + gathered.total[name] / gathered.weight).astype(np.float32)
        for name, value in gathered.start.items()
    }


def equal(release: Release) -> float:
    """Every hospital counts the same."""
    return 1.0


def noise_aware(release: Release) -> float:
    """Inverse noise variance: the best linear weights where hospitals differ in noise only.

    Raises `AggregationError` for a release that states no noise: its weight would be infinite.
    """
    if release.noise_variance <= 0:
        raise AggregationError(
            f"{release.hospital}'s {release.expert} states no noise; weigh such releases equally"
        )
    return 1.0 / release.noise_variance


WEIGHTINGS: Mapping[str, Weighting] = {"equal": equal, "noise-aware": noise_aware}

"""One expert's round: checked releases in, its next state, the server optimiser's memory and a report out.

    gathered releases --rule--> change --shrinkage--> change --optimiser--> step, added to the start

Pure, and the same to the last bit whatever order releases came in. Memory: the new state and memory, one tensor in
float64, and some blocks of all hospitals (`strategies.gathered.STACK_BYTES` each), however many hospitals there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.plan import Plan
from strategies import shrink
from strategies.drift import Drift, DriftSums, drift
from strategies.errors import RecipeError
from strategies.gathered import Gathered, State
from strategies.noise import delta_noise, noise_norm
from strategies.optimiser import Memory, Optimiser
from strategies.rules import Mean, Median, MultiKrum, NormBound, Rule, TrimmedMean
from strategies.weighting import EQUAL, WEIGHTINGS, Weighting

MEAN, NORM_BOUND, MEDIAN, TRIMMED_MEAN, MULTI_KRUM = (
    "mean",
    "norm-bound",
    "median",
    "trimmed-mean",
    "multi-krum",
)
RULES = (MEAN, NORM_BOUND, MEDIAN, TRIMMED_MEAN, MULTI_KRUM)
_WEIGHTED = (MEAN, NORM_BOUND)
_AGAINST_SOME = (TRIMMED_MEAN, MULTI_KRUM)
_MOST_HOSTILE = 1000
_DIGITS = 6  # of shares, for eyes


@dataclass(frozen=True)
class Recipe:
    """How an expert is aggregated. Valid by construction: `RecipeError` names the field and the cure.

    `hostile` says how many hospitals `trimmed-mean` or `multi-krum` bears. Only means are weighted; only means are
    shrunk, for it is their noise that is known.
    """

    rule: str = MEAN
    hostile: int = 0
    shrinkage: str = shrink.NONE
    weighting: Weighting = field(default_factory=Weighting)
    optimiser: Optimiser = field(default_factory=Optimiser)

    def __post_init__(self) -> None:
        for name, known in (("rule", RULES), ("shrinkage", shrink.SHRINKAGES)):
            if getattr(self, name) not in known:
                raise RecipeError(f"{name} = {getattr(self, name)!r}: use one of {', '.join(known)}")
        if self.weighting.kind not in WEIGHTINGS:
            raise RecipeError(f"weighting = {self.weighting.kind!r}: use one of {', '.join(WEIGHTINGS)}")
        count = self.hostile
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _MOST_HOSTILE:
            raise RecipeError(f"hostile = {count!r}: must be a whole number from 0 to {_MOST_HOSTILE}")
        if (self.rule in _AGAINST_SOME) != (count > 0):
            raise RecipeError(
                f"hostile = {count}: {' and '.join(_AGAINST_SOME)} take 1 or more, other rules none"
            )
        if self.rule not in _WEIGHTED and self.weighting.kind != EQUAL:
            raise RecipeError(
                f"weighting = {self.weighting.kind!r}: {self.rule} counts all hospitals equally"
            )
        if self.rule != MEAN and self.shrinkage != shrink.NONE:
            raise RecipeError(f"shrinkage = {self.shrinkage!r}: only the rule {MEAN!r} can be shrunk")

    @property
    def combining(self) -> Rule:
        """The rule that it names."""
        rules: Mapping[str, Rule] = {
            MEAN: Mean(self.weighting),
            NORM_BOUND: NormBound(self.weighting),
            MEDIAN: Median(),
            TRIMMED_MEAN: TrimmedMean(self.hostile),
            MULTI_KRUM: MultiKrum(self.hostile),
        }
        return rules[self.rule]


@dataclass(frozen=True)
class Report:
    """What came of an expert's round, public: whose releases, `shares` of weight, and how far they agree.

    `too_few` where the rule needs more releases than there were, so that the expert was left as it was.
    """

    hospitals: tuple[str, ...]
    too_few: bool
    shares: dict[str, float]
    drift: Drift

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "hospitals": list(self.hospitals)}


@dataclass(frozen=True)
class Aggregate:
    """An expert after a round. `memory` is what its optimiser remembers; empty where it remembers nothing."""

    state: State
    memory: Memory
    report: Report


def aggregate(gathered: Gathered, recipe: Recipe, plan: Plan, memory: Memory | None = None) -> Aggregate:
    """Aggregate one expert; `memory` is what the optimiser remembered after the expert's last round (None for no such).

    With fewer releases than the rule needs, state and memory stay as they are: the very same objects. Inputs are left
    as they are. Raises `AggregationError` where a release can't be weighed.
    """
    memory = recipe.optimiser.begin(gathered.start) if memory is None else memory
    rule, noise, sums = recipe.combining, delta_noise(plan), DriftSums(len(gathered.releases), gathered.size)
    if len(gathered.releases) < rule.least:
        for rows in gathered.all():
            sums.add(rows)
        return Aggregate(
            gathered.start,
            memory,
            Report(gathered.hospitals, True, {}, drift(gathered.hospitals, sums, noise)),
        )
    weights = rule.weigh(gathered, noise_norm(plan, gathered.size))
    state: dict[str, NDArray[np.float32]] = {}
    remembered: dict[str, NDArray[np.float32]] = {}
    all_of_it = np.empty(gathered.size, np.float32)  # one piece of memory is had sooner than hundreds
    scratch = np.empty(max((value.size for value in gathered.start.values()), default=0), np.float32)
    first = 0
    for tensor, start in gathered.start.items():
        flat = scratch[: start.size]
        for block in gathered.blocks(tensor):
            rows = gathered.read(block)
            sums.add(rows)
            rule.combine(rows, weights, flat[block.first : block.first + block.size])
        change = shrink.shrunk(
            flat.reshape(start.shape), noise.variance * weights.noise_share, recipe.shrinkage
        )
        step, new = recipe.optimiser.step(tensor, change, memory)
        state[tensor] = all_of_it[first : first + start.size].reshape(start.shape)
        np.add(start, step, out=state[tensor], casting="same_kind")
        first += start.size
        remembered |= new
    shares = [float(f"{share:.{_DIGITS}g}") for share in weights.each / weights.divisor]
    told = dict(zip(gathered.hospitals, shares, strict=True))
    return Aggregate(
        state, remembered, Report(gathered.hospitals, False, told, drift(gathered.hospitals, sums, noise))
    )

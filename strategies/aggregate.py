"""One expert's round: checked releases in, its next state, the server optimiser's memory and a report out.

    gathered releases --rule--> change --shrinkage--> change --optimiser--> step, added to the start

Where hospitals have different ranks, all of it is done for each block of columns over those who train it; columns that
nobody trains, or fewer than the rule needs, stay as they were, and so does what is remembered of them.

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
from strategies.errors import AggregationError, RecipeError
from strategies.gathered import Change, Columns, Gathered, State
from strategies.noise import delta_noise, lengths
from strategies.optimiser import Memory, Optimiser
from strategies.rules import Mean, Median, MultiKrum, NormBound, Rule, TrimmedMean, Weights
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

    `too_few` where the rule needs more releases than there were, so that the expert was left as it was. `ranks` of those
    who trained the first columns only; then shares and agreement are of the columns that all trained.
    """

    hospitals: tuple[str, ...]
    too_few: bool
    shares: dict[str, float]
    drift: Drift
    ranks: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `ranks` only where there are any."""
        said = {**asdict(self), "hospitals": list(self.hospitals)}
        if not self.ranks:
            del said["ranks"]
        return said


@dataclass(frozen=True)
class Aggregate:
    """An expert after a round. `memory` is what its optimiser remembers; empty where it remembers nothing."""

    state: State
    memory: Memory
    report: Report


def aggregate(gathered: Gathered, recipe: Recipe, plan: Plan, memory: Memory | None = None) -> Aggregate:
    """Aggregate one expert; `memory` is what the optimiser remembered after the expert's last round (None for no such).

    With fewer releases than the rule needs, state and memory stay as they are: the very same objects. Inputs are left
    as they are. Raises `AggregationError` where a release can't be weighed, or is of a lower rank than the rule takes.
    """
    memory = recipe.optimiser.begin(gathered.start) if memory is None else memory
    rule, noise, sizes = recipe.combining, delta_noise(plan), gathered.sizes
    sums = DriftSums(len(sizes), min(sizes, default=0))
    if gathered.ranks and not rule.by_columns:
        raise AggregationError(f"{recipe.rule} takes no release of a lower rank: {', '.join(gathered.ranks)}")

    def report(shares: dict[str, float], *, too_few: bool) -> Report:
        agreement = drift(gathered.hospitals, sums, noise)
        return Report(gathered.hospitals, too_few, shares, agreement, dict(gathered.ranks))

    if len(gathered.releases) < rule.least:
        for rows in gathered.shared():
            sums.add(rows)
        return Aggregate(gathered.start, memory, report({}, too_few=True))
    weights = rule.weigh(gathered, lengths(plan, sizes))
    state: dict[str, NDArray[np.float32]] = {}
    remembered: dict[str, NDArray[np.float32]] = {}
    scratch = np.empty(max((value.size for value in gathered.start.values()), default=0), np.float32)
    for tensor, start in gathered.start.items():
        state[tensor] = new = np.empty(start.shape, np.float32)
        parts = _combined(gathered, tensor, rule, weights, sums, scratch)
        if parts[0].columns.where is not ...:  # some may be nobody's
            new[...] = start
        held = memory
        for part in parts:
            where, variance = part.columns.where, noise.variance * part.weights.noise_share
            change = shrink.shrunk(part.change.reshape(part.columns.shape), variance, recipe.shrinkage)
            step, held = recipe.optimiser.step(tensor, change, held, where)
            np.add(start[where], step, out=new[where], casting="same_kind")
        remembered |= held
    shares = [float(f"{share:.{_DIGITS}g}") for share in weights.each / weights.divisor]
    told = dict(zip(gathered.hospitals, shares, strict=True))
    return Aggregate(state, remembered, report(told, too_few=False))


@dataclass(frozen=True)
class _Part:
    """Columns of a tensor, the weights of those who train them, and what comes of their changes, flat."""

    columns: Columns
    weights: Weights
    change: Change


def _combined(
    gathered: Gathered, tensor: str, rule: Rule, weights: Weights, sums: DriftSums, scratch: Change
) -> list[_Part]:
    """The changes of a tensor, in `scratch`, of the columns that enough hospitals train, those of all of them first."""
    parts: list[_Part] = []
    first = 0
    for columns in gathered.columns(tensor):
        if len(columns.places) >= rule.least:
            part = _Part(columns, weights.of(columns.places), scratch[first : first + columns.size])
            parts.append(part)
            first += columns.size
    for block in gathered.blocks(tensor):
        rows = gathered.read(block)
        for part in parts:
            own, across = part.columns.of(rows, block), part.columns.across
            if part is parts[0]:
                sums.add(own)
            rule.combine(own, part.weights, part.change[block.start * across : block.stop * across])
    return parts

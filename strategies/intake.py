"""What one round takes in: each release is checked, refused by name or counted; then each expert is aggregated.

The one place that decides it: the consortium's round (`strategies.flower`) and an auditor's replay of it
(`strategies.replay`) both come here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from privacy import tensors
from privacy.codes import ReleaseFault
from privacy.errors import ReleaseRefused
from privacy.keys import PublicKey
from privacy.payload import norm_of
from privacy.plan import Plan
from privacy.release import Expectation, Release, check
from privacy.release_file import ReleaseFile, keep_release
from strategies import optimiser
from strategies.aggregate import NORM_BOUND, Recipe, aggregate
from strategies.bounds import norm_bound
from strategies.errors import AggregationError
from strategies.gathered import State, gather
from strategies.noise import check_stated, least_norm
from strategies.weighting import BY_NOISE

_T = TypeVar("_T")

MAX_STATE_BYTES = 256 * 1024 * 1024
MAX_MEMORY_BYTES = 3 * MAX_STATE_BYTES  # two values for each of a state's
_LOOSE_BYTES = 64 * 1024  # a release's header, names and scales, over its int8 values


@dataclass(frozen=True)
class Terms:
    """What decides a round, apart from its releases.

    `states` holds the bytes of every trained expert's state before it; `keys` are those under which a hospital may have
    sealed its releases, its present one first; `recipes` says how each trained expert is aggregated, and `memories` has
    what their server optimisers saved last; `code_hashes` the installations whose releases are taken (None for any);
    `patients` the nominal patients that a hospital's noise must be stated for, where they were agreed upon.
    """

    plan: Plan
    states: Mapping[str, bytes]
    keys: Mapping[str, Sequence[PublicKey]]
    recipes: Mapping[str, Recipe]
    memories: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    code_hashes: frozenset[str] | None = None
    patients: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Verdict:
    """What became of one thing that a hospital sent: `fault` is None where it was accepted.

    `expert` is None for a reply that held no release at all: then `fault` is the hospital's own code, or
    Flower's.
    """

    hospital: str
    expert: str | None
    fault: str | None
    digest: str
    size: int
    noise_std: float | None = None
    reservation: str | None = None  # the entry of the hospital's ledger that paid for it


@dataclass(frozen=True)
class Aggregated:
    """An expert after the round, as bytes: its state, its server optimiser's memory (None where it has none), and the
    public report on what came in, as JSON values (`strategies.aggregate.Report`).
    """

    state: bytes
    memory: bytes | None
    report: Mapping[str, Any]


class Intake:
    """A round's releases: `take` each as it comes, in any order, then ask for every expert `aggregated`.

    `keep` says where the bytes of an accepted release lie; they must lie there, unchanged, until all is aggregated.
    `taken` has the nonces that the round took before, and gets those that are taken here: whoever takes in a round in
    several goes hands the same set to each, for a nonce counts once a round, whatever its expert.
    """

    def __init__(self, terms: Terms, keep: Callable[[bytes], Path], taken: set[str] | None = None) -> None:
        self._terms = terms
        self._keep = keep
        self._accepted: dict[str, list[ReleaseFile]] = {expert: [] for expert in terms.plan.experts}
        self._taken = set() if taken is None else taken
        self._shapes = {
            expert: {name: value.shape for name, value in self._start(expert).items()}
            for expert in terms.plan.experts
            if expert in terms.states
        }

    @property
    def released(self) -> list[str]:
        """The experts with an accepted release, in the plan's order."""
        return [expert for expert, found in self._accepted.items() if found]

    def take(self, hospital: str, expert: str, data: bytes) -> Verdict:
        """Check a release and count it; a release is for the expert that it is named for, or for none."""
        digest, size = tensors.digest(data), len(data)
        if expert not in self._shapes:
            return Verdict(hospital, expert[:40], ReleaseFault.UNKNOWN_EXPERT, digest, size)
        try:
            release = under_any_key(
                self._terms.keys[hospital], lambda key: check(data, self._expectation(hospital, key, expert))
            )
            self._check_noise(release)
        except ReleaseRefused as error:
            return Verdict(hospital, expert, error.code, digest, size)
        accepted = self._accepted[expert]
        accepted.append(keep_release(self._keep(data), release, like=accepted[0] if accepted else None))
        self._taken.add(release.nonce)
        return Verdict(hospital, expert, None, digest, size, release.noise_std, release.reservation)

    def aggregated(self, expert: str) -> Aggregated:
        """The expert after the round.

        Raises `AggregationError` where its releases can't be weighed, or the memory is not its optimiser's.
        """
        start, recipe = self._start(expert), self._terms.recipes[expert]
        saved = self._terms.memories.get(expert)
        memory = None if saved is None else recipe.optimiser.load(saved, start, MAX_MEMORY_BYTES)
        found = aggregate(gather(expert, start, self._accepted[expert]), recipe, self._terms.plan, memory)
        return Aggregated(
            state=self._terms.states[expert] if found.report.too_few else tensors.encode(found.state),
            memory=optimiser.save(found.memory) if found.memory else None,
            report=found.report.to_dict(),
        )

    def _start(self, expert: str) -> State:
        return tensors.decode(self._terms.states[expert], MAX_STATE_BYTES)

    def _expectation(self, name: str, key: PublicKey, expert: str) -> Expectation:
        shapes = self._shapes[expert]
        values = sum(math.prod(shape) for shape in shapes.values())
        return Expectation(
            plan=self._terms.plan,
            hospitals={name: key},  # the node's own: no one releases in another's name
            shapes={expert: shapes},
            max_bytes=2 * values + _LOOSE_BYTES,
            max_norm=norm_bound(self._terms.plan, shapes),
            code_hashes=self._terms.code_hashes,
            taken=self._taken,
            lower_ranks=self._terms.recipes[expert].combining.by_columns,
        )

    def _check_noise(self, release: Release) -> None:
        """Refuse noise that the plan's mechanism can't have made, where the expert's recipe builds on it."""
        recipe, plan = self._terms.recipes[release.expert], self._terms.plan
        patients = self._terms.patients.get(release.hospital)
        if patients is not None or recipe.weighting.kind in BY_NOISE:
            try:
                check_stated(release.noise_variance, plan, patients)
            except AggregationError as error:
                raise ReleaseRefused(ReleaseFault.WRONG_NOISE, str(error)) from None
        if recipe.rule == NORM_BOUND:
            norm = norm_of(release.tensors.values())
            least = least_norm(plan, sum(value.size for value in release.tensors.values()))
            if norm < least:
                text = f"its norm {norm:.4g} is under {least:.4g}: it lacks the noise that it states"
                raise ReleaseRefused(ReleaseFault.NORM_TOO_SMALL, text)


def under_any_key(keys: Sequence[PublicKey], check_under: Callable[[PublicKey], _T]) -> _T:
    """What the check gives under the key that the bytes name. Raises what it raises under the first key, where they
    name none of these.
    """
    present, *former = keys
    try:
        return check_under(present)
    except ReleaseRefused as error:
        if error.code != ReleaseFault.UNKNOWN_KEY or not former:
            raise
        try:
            return under_any_key(former, check_under)
        except ReleaseRefused as other:
            raise (error if other.code == ReleaseFault.UNKNOWN_KEY else other) from None

"""Adversarial patients against the code that trains, without noise: how far does each move the sum?"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.model.experts import Experts
from client.selftest.patients import Cohort, duplicates, many_slides, ordinary, short, talkative, wordy
from client.selftest.plans import gauge, plan
from client.tasks.sample import Sample
from client.training import rollout
from client.training.batch import LoadInputs, Performance
from client.training.draw import Draw
from client.training.rollout import Sampler
from client.training.round import DEFAULT, clipped_sum, train_round
from privacy.experts import TASKS, TRAINED_IN
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.randomness import SeededRandom
from privacy.selftest.sensitivity import Movement, distance

HUGE, BROKEN = "huge", "broken"  # whose visual inputs are spoilt
_NO_CLIP = 1e9
_TIGHT, _LOOSE = 0.02, 1.0  # clip norms, in units of an ordinary patient's gradient
_WEIGHT = 0.02


@dataclass(frozen=True)
class Case:
    """A cohort, who joins it, and the clip norm in units of an ordinary patient's gradient.

    A tight clip shows what escapes it; a loose one shows patients who shrink or swell one another. `before` of the
    cohort stand before who joins (None: all).
    """

    name: str
    cohort: Cohort
    patient: str
    samples: list[Sample]
    clip: float
    before: int | None = None
    performance: Performance = DEFAULT

    def joined(self) -> Cohort:
        """The cohort with who joins, in order."""
        order = list(self.cohort)
        order.insert(len(order) if self.before is None else self.before, self.patient)
        return {name: self.samples if name == self.patient else self.cohort[name] for name in order}


MIXED: Cohort = {name: ordinary(name) for name in ("a", "b")}
ALIKE: Cohort = {name: short(name) for name in ("c", "d", "e", "f")}
CASES = (
    Case("many slides into an empty cohort", {}, "m", many_slides("m"), _TIGHT),
    Case("many slides", MIXED, "m", many_slides("m"), _TIGHT),
    Case("duplicates", MIXED, "n", duplicates("n"), _TIGHT),
    Case("huge inputs", MIXED, HUGE, ordinary(HUGE), _TIGHT),
    Case("inputs that are no numbers", MIXED, BROKEN, ordinary(BROKEN), _TIGHT),
    Case("a twin of everybody", ALIKE, "t", short("t"), _TIGHT),
    Case("a twin, first of all", ALIKE, "t", short("t"), _TIGHT, before=0),
    Case("a twin, in chunks of two", ALIKE, "t", short("t"), _TIGHT, performance=Performance(patients=2)),
    Case("duplicates, in the middle", ALIKE, "n", duplicates("n"), _TIGHT, before=2),
    Case("many slides, first of all", MIXED, "m", many_slides("m"), _TIGHT, before=0),
    Case("a long answer", ALIKE, "w", wordy("w"), _LOOSE),
    Case("a long question, in the middle", ALIKE, "q", talkative("q"), _LOOSE, before=2),
)


def all_samples() -> list[Sample]:
    """Every sample that the cases use: what slides they need."""
    cohorts = [*(case.cohort for case in CASES), *({case.patient: case.samples} for case in CASES)]
    return [sample for cohort in cohorts for samples in cohort.values() for sample in samples]


@dataclass
class Measured:
    """The trained code's sums; `known` are those of cohorts before anybody joins, and of each who joins alone."""

    experts: Experts
    inputs: LoadInputs
    stage: str
    sampler: Sampler = rollout.sample
    known: dict[tuple[tuple[str, ...], float, Performance], Mapping[str, Tensor]] = field(
        default_factory=dict
    )

    def sum(
        self, cohort: Cohort, clip_norm: float, performance: Performance = DEFAULT
    ) -> Mapping[str, Tensor]:
        """`clipped_sum` over the whole cohort; a patient's seed follows from its name."""
        asked = self._plan(Mechanism(clip_norm, 0.0, 1.0, 1, 1))
        seeds = [zlib.crc32(patient.encode()) for patient in cohort]
        parameters = self.experts.trainable(asked.experts)
        draw = Draw(
            experts=self.experts,
            parameters=parameters,
            samples=list(cohort.values()),
            seeds=seeds,
            plan=asked,
            tasks=tuple(TASKS),
            load_inputs=self.inputs,
            performance=performance,
            sampler=self.sampler,
        )
        return clipped_sum(draw).total

    def _once(
        self, cohort: Cohort, clip_norm: float, performance: Performance = DEFAULT
    ) -> Mapping[str, Tensor]:
        """`sum`, of cohorts that several cases look at: computed once and held."""
        key = tuple(cohort), clip_norm, performance
        if key not in self.known:
            self.known[key] = self.sum(cohort, clip_norm, performance)
        return self.known[key]

    def movement(self, case: Case, ordinary_norm: float) -> Movement:
        """How far the case's patient moves the sum, and the others' part of it."""
        clip = case.clip * ordinary_norm
        more = _arrays(self.sum(case.joined(), clip, case.performance))
        less = _arrays(self._once(case.cohort, clip, case.performance))
        alone = _arrays(self._once({case.patient: case.samples}, clip))
        others = distance(more, {name: value + alone[name] for name, value in less.items()})
        return Movement(f"{self.stage}, {case.name}", distance(more, less) / clip, others / clip)

    def round(self, ordinary_norm: float) -> Movement:
        """How far a patient moves a whole round's change, noise being off: it may be divided by the public
        number only, never by how many there were.
        """
        level = gauge(_TIGHT * ordinary_norm, 0.0)
        asked = self._plan(level.mechanism)
        start = {key: value.detach().clone() for key, value in self.experts.trainable(asked.experts).items()}
        changes = []
        for samples in (short("t"), []):
            self.experts.write(start)
            deltas = train_round(
                self.experts,
                asked.experts,
                samples,
                self.inputs,
                asked,
                level.nominal_patients,
                SeededRandom("self-test"),
                lambda done, of: None,
                sampler=self.sampler,
            )
            changes.append({f"{e}::{n}": v for e, d in deltas.items() for n, v in d.tensors.items()})
        self.experts.write(start)
        moved = distance(*changes) / level.unit()
        return Movement(f"{self.stage}, a whole round", moved / level.mechanism.clip_norm)

    def _plan(self, mechanism: Mechanism) -> Plan:
        return plan(self.experts.base.hash, self.stage, mechanism)


def movements(
    experts: Experts, inputs: LoadInputs, tell: Callable[[str], None], sampler: Sampler = rollout.sample
) -> list[Movement]:
    """Every case in both stages, on experts with public random weights (they are overwritten)."""
    names = [name for trained in TRAINED_IN.values() for name in trained]
    generator = torch.Generator().manual_seed(0)
    experts.write(
        {
            key: _WEIGHT * torch.randn(value.shape, generator=generator)
            for key, value in experts.trainable(names).items()
        }
    )
    found = []
    for stage in TRAINED_IN:
        measured = Measured(experts, inputs, stage, sampler)
        whole = measured.sum(ALIKE, _NO_CLIP)
        ordinary_norm = float(sum(t.square().sum() for t in whole.values()) ** 0.5) / len(ALIKE)
        if not ordinary_norm > 0:
            found.append(Movement(f"{stage}, an ordinary patient's gradient is nothing", float("nan")))
            continue
        for case in CASES:
            tell(f"{stage}: {case.name}")
            found.append(measured.movement(case, ordinary_norm))
        found.append(measured.round(ordinary_norm))
    return found


def _arrays(total: Mapping[str, Tensor]) -> dict[str, NDArray[np.float64]]:
    return {name: value.cpu().numpy() for name, value in total.items()}

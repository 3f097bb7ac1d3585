"""Many sealed releases of one round, with a canary patient and without: can one tell which are which?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.model.experts import Experts
from client.rpc import LIMIT
from client.selftest.hospital import NAME
from client.selftest.patients import short
from client.selftest.plans import gauge, plan
from client.tasks.sample import Sample
from client.training.batch import LoadInputs
from client.training.round import train_round
from privacy import accounting
from privacy.delta import ExpertDelta
from privacy.keys import PrivateKey
from privacy.ledger.account import Reservation
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.randomness import RandomSource, SecureRandom, SeededRandom
from privacy.release import Expectation, check, seal
from privacy.selftest.distinguishing import distinguishing_findings
from privacy.selftest.noise import pooled_findings, scale_findings, value_findings
from privacy.selftest.verdict import CLAIMED, LOWER_BOUND, Finding

RELEASES = 120  # with the canary, and as many without
LOOKS = 8  # at the canary's own gradient: a coin decides each time whether it is asked to think
EXPERT = "scale/roi"
DELTA = 1e-5
LEVEL = gauge(clip_norm=1e-3, noise_multiplier=2.0)
WHERE = f"{EXPERT}, {RELEASES} releases each with and without a canary"


def round_plan(base_hash: str) -> Plan:
    """The plan that every one of the releases answers; to be reserved once, in a ledger that is thrown away."""
    return plan(base_hash, "sft", LEVEL.mechanism, experts=[EXPERT])


@dataclass(frozen=True)
class Distinguishing:
    """Releases of one expert by one patient or by none."""

    experts: Experts
    inputs: LoadInputs
    reservation: Reservation
    key: PrivateKey

    def findings(self, tell: Callable[[str], None]) -> tuple[dict[str, float], list[Finding]]:
        """The lower bound and the claim, with what they say; and the noise of an empty cohort."""
        canary = short("canary")
        quiet = gauge(LEVEL.mechanism.clip_norm, 0.0).mechanism
        looks = [self._delta(canary, quiet, SeededRandom(f"self-test {n}")).tensors for n in range(LOOKS)]
        direction = {name: np.sum([look[name] for look in looks], axis=0) for name in looks[0]}
        length = _norm(direction)
        least = min(_along(look, direction, length) for look in looks)
        with_canary: list[float] = []
        without: list[float] = []
        alone: list[dict[str, NDArray[np.float64]]] = []
        for index in range(RELEASES):
            tell(f"canary: release {index + 1} of {RELEASES}")
            with_canary.append(_along(self._release(canary), direction, length))
            nobody = self._release([])
            without.append(_along(nobody, direction, length))
            alone.append(LEVEL.standardised(nobody))
        claim = accounting.epsilon([LEVEL.mechanism.event()], DELTA)
        bound, found = distinguishing_findings(with_canary, without, least / 2, DELTA, claim, WHERE)
        measured = {LOWER_BOUND: bound, CLAIMED: claim}
        for judge in (scale_findings, pooled_findings, value_findings):
            found += judge(alone, "nobody drawn")
        return measured, found

    def _release(self, samples: Sequence[Sample]) -> dict[str, NDArray[np.float32]]:
        """One sealed and checked release, from a source of its own as each agent's start has."""
        asked = round_plan(self.experts.base.hash)
        delta = self._delta(samples, LEVEL.mechanism, SecureRandom())
        data = seal(delta, self.reservation, asked, NAME, self.key)
        shapes = {EXPERT: self.experts.shapes(EXPERT)}
        return dict(check(data, Expectation(asked, {NAME: self.key.public}, shapes, LIMIT, math.inf)).tensors)

    def _delta(self, samples: Sequence[Sample], mechanism: Mechanism, random: RandomSource) -> ExpertDelta:
        asked = plan(self.experts.base.hash, "sft", mechanism, experts=[EXPERT])
        self.experts.load(EXPERT, self.experts.initial(EXPERT))
        deltas = train_round(
            self.experts,
            [EXPERT],
            samples,
            self.inputs,
            asked,
            LEVEL.nominal_patients,
            random,
            lambda done, of: None,
        )
        return deltas[EXPERT]


def _norm(tensors: Mapping[str, NDArray[np.float32]]) -> float:
    return math.sqrt(sum(float(np.square(value, dtype=np.float64).sum()) for value in tensors.values()))


def _along(
    release: Mapping[str, NDArray[np.float32]], direction: Mapping[str, NDArray[np.float32]], length: float
) -> float:
    """How far a release goes in the canary's direction."""
    return sum(float(np.vdot(value, direction[name])) for name, value in release.items()) / length

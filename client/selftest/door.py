"""What leaves a real agent's door: is it noised as promised, ever anew, and charged once each?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from client.agent import Agent
from client.selftest.hospital import Hospital
from client.selftest.plans import Gauge, gauge, plan
from privacy import keys, tensors
from privacy.experts import TRAINED_IN
from privacy.ledger.store import Ledger
from privacy.plan import Plan
from privacy.selftest.noise import (
    VALUES_NEEDED,
    Standardised,
    pooled_findings,
    repeat_findings,
    scale_findings,
)
from privacy.selftest.verdict import Check, Finding

Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]

# One patient moves the sum by 1/30 of the noise's spread in a single value: nothing beside the noise in all.
CLIP_NORM, NOISE_MULTIPLIER = 1e-3, 30.0
_LEAST_RELEASES, _MOST_RELEASES = 4, 24  # of rounds of one and two steps
LONG = 4  # steps of one more round a stage, judged by itself
PUBLIC = gauge(CLIP_NORM, NOISE_MULTIPLIER)  # the gauge whose public number the policy states


def releases_needed(shapes: Shapes) -> int:
    """How many releases of a stage make `scale_findings` sure of the smallest tensor, within bounds."""
    least = min(math.prod(shape) for parts in shapes.values() for shape in parts.values())
    return min(_MOST_RELEASES, max(_LEAST_RELEASES, math.ceil(VALUES_NEEDED / least)))


@dataclass
class Door:
    """The rounds asked so far of one made-up hospital, and what came."""

    hospital: Hospital
    base_hash: str
    shapes: Shapes
    tell: Callable[[str], None]
    sent: list[tuple[Plan, dict[str, bytes]]] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """Ask for rounds of both stages, before and after a restart of the agent, and judge what came.

        Raises `NoAnswerError` where the agent refuses or fails.
        """
        held: dict[str, dict[str, Standardised]] = {stage: {} for stage in TRAINED_IN}
        long: dict[str, Standardised] = {}
        charged: list[Finding] = []
        for start in ("first", "second"):
            agent = self.hospital.open_agent()
            for stage in TRAINED_IN:
                for index in range(math.ceil(releases_needed(self._of(stage)) / 2)):
                    where = f"{stage}, release {len(self.sent) + 1} of the {start} agent"
                    held[stage][where] = self._release(agent, stage, steps=2 - index % 2)
                if start == "second":
                    long[f"{stage}, a round of {LONG} steps"] = self._release(agent, stage, steps=LONG)
            charged += self._asked_again(agent, start)
            del agent  # with its base, before the next start loads another
        judged = {stage: list(parts.values()) for stage, parts in held.items()}
        judged |= {where: [values] for where, values in long.items()}
        findings = []
        for where, releases in judged.items():
            findings += scale_findings(releases, where) + pooled_findings(releases, where)
        findings += repeat_findings(
            long | {where: values for parts in held.values() for where, values in parts.items()}
        )
        return findings + charged + self._ledger_findings()

    def _release(self, agent: Agent, stage: str, steps: int) -> dict[str, NDArray[np.float64]]:
        """One more round's released tensors, in units of the noise that they should hold."""
        self.tell(f"{stage}: release {len(self.sent) + 1}")
        level = gauge(CLIP_NORM, NOISE_MULTIPLIER, steps)
        asked = self._next(stage, level)
        releases = self.hospital.ask(agent, asked)
        self.sent.append((asked, releases))
        return level.standardised(self.hospital.read(asked, releases, self._of(stage)))

    def _asked_again(self, agent: Agent, start: str) -> list[Finding]:
        """Ask again for the first round of all and for the last: the same bytes must come."""
        what = "the same round asked twice was answered by other bytes"
        return [
            Finding(Check.CHARGED_ONCE, f"round {asked.round}, asked again of the {start} agent", what)
            for asked, releases in (self.sent[0], self.sent[-1])
            if self.hospital.ask(agent, asked) != releases
        ]

    def _next(self, stage: str, level: Gauge) -> Plan:
        hashes = {name: tensors.digest(data) for name, data in self.hospital.states.items()}
        return plan(self.base_hash, stage, level.mechanism, number=len(self.sent) + 1, hashes=hashes)

    def _of(self, stage: str) -> Shapes:
        return {name: self.shapes[name] for name in TRAINED_IN[stage]}

    def _ledger_findings(self) -> list[Finding]:
        home = self.hospital.home
        summary = Ledger(home.ledger, keys.load(home.release_key)).summary()
        charged = len(summary.events)
        if charged == len(self.sent):
            return []
        what = f"{len(self.sent)} rounds left the hospital, {charged} stand in its ledger"
        return [Finding(Check.CHARGED_ONCE, "ledger", what)]

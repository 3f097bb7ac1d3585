"""Small valid plans, policies, deltas and ledgers that the tests of `privacy` start from and then spoil."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from privacy import canonical, keys
from privacy.delta import ExpertDelta
from privacy.evaluation import NoisedEvaluation
from privacy.experts import same_form
from privacy.ledger.store import Ledger
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.randomness import RandomSource, SecureRandom
from privacy.release import Expectation, seal
from privacy.secagg.terms import Distributed

BASE = canonical.digest(b"base")
CODE = canonical.digest(b"code")
PARENT = canonical.digest(b"parent")
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "scale/roi": {"a.lora_B": (12, 4), "b.lora_B": (5, 4)},
    "scale/wsi": {"c.lora_B": (6, 4), "bias": (6,)},
}
RELEASES = {"scale/roi": b"one", "scale/wsi": b"two"}  # a ledger keeps any bytes
MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=1.0, sampling_rate=0.1, steps=2, samples_per_patient=4)
PLAN = Plan(
    campaign="spring",
    round=1,
    stage="sft",
    experts=("scale/roi", "scale/wsi"),
    mechanism=MECHANISM,
    learning_rate=0.01,
    base_hash=BASE,
    experts_hash={"scale/roi": PARENT, "scale/wsi": canonical.digest(b"other parent")},
    forms=same_form(("scale/roi", "scale/wsi"), 4, 8.0),
    expert_seed=0,
)
DISTRIBUTED = replace(  # under distributed trust
    PLAN, mechanism=replace(MECHANISM, steps=1), distributed=Distributed(2.0**-10, 50, 2, 1)
)
ASKED = NoisedEvaluation(
    campaign="spring",
    round=1,
    point="sft",
    kinds=(("roi", "classification"), ("wsi", "vqa")),
    noise_multiplier=4.0,
    base_hash=BASE,
    experts_hash={"scale/roi": PARENT},
    forms=same_form(("scale/roi",), 4, 8.0),
    expert_seed=0,
)
POLICY = Policy(
    hospital="north",
    epsilon_budget=8.0,
    delta=1e-5,
    nominal_patients=1000,
    minimum_noise_multiplier=0.5,
    maximum_sampling_rate=0.2,
    maximum_steps=50,
    maximum_samples_per_patient=8,
    tasks=("classification", "vqa"),
    scales=("roi", "wsi"),
    campaigns=("*",),
)


def deltas(
    mechanism: Mechanism = MECHANISM, steps: int | None = None, random: RandomSource | None = None
) -> dict[str, ExpertDelta]:
    """What a round of noise-only steps makes of SHAPES."""
    import torch  # only here: the processes that the crash tests kill start faster without it

    from privacy.clip import clip_and_sum
    from privacy.descent import PrivateDescent
    from privacy.noise import add_noise

    start = {f"{e}::{n}": torch.zeros(shape) for e, tensors in SHAPES.items() for n, shape in tensors.items()}
    descent, random = PrivateDescent(start, 0.01), random or SecureRandom()
    for _ in range(mechanism.steps if steps is None else steps):
        empty = {name: torch.zeros((0, *value.shape)) for name, value in start.items()}
        descent.step(add_noise(clip_and_sum(empty, mechanism.clip_norm), mechanism, 100.0, random))
    return descent.deltas()


@dataclass(frozen=True)
class Hospital:
    """A hospital with a key and a ledger: in its folder, or in the PostgreSQL database at `url`."""

    folder: Path
    key: keys.PrivateKey
    url: str | None = None

    @property
    def path(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def place(self) -> Path | str:
        return self.url or self.path

    def ledger(self) -> Ledger:
        return Ledger(self.place, self.key)

    def releases(self, plan: Plan = PLAN) -> dict[str, bytes]:
        """Reserve, seal and spend one round, as an agent does."""
        ledger = self.ledger()
        reservation = ledger.reserve(plan, POLICY, CODE)
        sealed = {
            expert: seal(delta, reservation, plan, "north", self.key)
            for expert, delta in deltas(plan.mechanism).items()
            if expert in plan.experts
        }
        ledger.spend(reservation, sealed)
        return sealed

    def expectation(self, plan: Plan = PLAN) -> Expectation:
        return Expectation(plan, {"north": self.key.public}, SHAPES, max_bytes=10_000, max_norm=math.inf)


def hospital(folder: Path, url: str | None = None) -> Hospital:
    """A hospital made anew in `folder`."""
    return Hospital(folder, keys.generate(folder / "release.key"), url)


def kinds(ledger: Ledger) -> list[str]:
    """What kind each entry of a ledger is, in order."""
    return [entry.kind for entry in ledger.entries()]


def round_of(number: int, **changes: object) -> Plan:
    """PLAN, for another round."""
    return replace(PLAN, round=number, **changes)  # type: ignore[arg-type]

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.agent import Agent
from client.home import Home, Settings, create
from client.model.base import Base
from client.model.experts import attach
from client.network import Network
from demo.cohort import MANIFEST, SITES, Cohort, write_cohort
from privacy import envelope, keys, tensors
from privacy.evaluation import NoisedEvaluation
from privacy.experts import EXPERTS, same_form
from privacy.ledger.store import Ledger
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.randomness import RandomSource, SeededRandom
from tests.enrolment_cases import enrol_alone

POLICY = """\
hospital = "north"
epsilon_budget = {budget}
delta = 1e-5
nominal_patients = 10
minimum_noise_multiplier = 0.5
maximum_sampling_rate = 0.8
maximum_steps = 4
maximum_samples_per_patient = 4
tasks = ["classification", "vqa"]
scales = {scales}
campaigns = ["spring"]
public_data = {public}
"""
SFT = ("scale/roi", "scale/wsi")
MECHANISM = Mechanism(1.0, 1.0, 0.5, 1, 2)


class Fixed(SeededRandom):
    """A generator with a seed, passed off as a secure one: where what happens must not hang on who is drawn."""

    secure = True


@dataclass
class House:
    """A hospital's home, its coordinator's key, and what the coordinator's plans start from."""

    home: Home
    coordinator: keys.PrivateKey
    states: dict[str, bytes]
    base_hash: str

    def plan(self, number: int = 1, **changes: Any) -> Plan:
        plan = Plan(
            campaign="spring",
            round=number,
            stage="sft",
            experts=SFT,
            mechanism=MECHANISM,
            learning_rate=0.01,
            base_hash=self.base_hash,
            experts_hash={name: tensors.digest(self.states[name]) for name in SFT},
            forms=same_form(SFT, 2, 4.0),
            expert_seed=3,
        )
        return replace(plan, **changes)

    def request(self, plan: Plan) -> dict[str, bytes]:
        parts = {"plan": plan.to_bytes(), "signature": plan.sign(self.coordinator)}
        return parts | {f"expert/{name}": self.states[name] for name in plan.experts_hash}

    def evaluation(self, **changes: Any) -> NoisedEvaluation:
        """A request for noised counts after round 1."""
        asked = NoisedEvaluation(
            campaign="spring",
            round=1,
            point="sft",
            kinds=tuple((scale, task) for scale in ("roi", "wsi") for task in ("classification", "vqa")),
            noise_multiplier=4.0,
            base_hash=self.base_hash,
            experts_hash={name: tensors.digest(self.states[name]) for name in SFT},
            forms=same_form(SFT, 2, 4.0),
            expert_seed=3,
        )
        return replace(asked, **changes)

    def evaluation_request(self, asked: NoisedEvaluation) -> dict[str, bytes]:
        parts = {"request": asked.to_bytes(), "signature": asked.sign(self.coordinator)}
        return parts | {f"expert/{name}": self.states[name] for name in asked.experts_hash}

    def agent(self, random: RandomSource | None = None) -> Agent:
        return Agent(self.home, Network(False, "not cut off: a test"), random)

    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger, keys.load(self.home.release_key))


def ask(agent: Agent, method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
    """Ask as a courier does."""
    return envelope.unpack(agent.courier_methods[method](envelope.pack(parts)), 1 << 28)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few patients' slides and labels."""
    folder = tmp_path_factory.mktemp("data")
    write_cohort(Cohort(folder, (SITES[0],), 3, 3, 1), 1, lambda done, of: None)
    return folder


@pytest.fixture(scope="session")
def states(tiny_base: Path) -> tuple[str, dict[str, bytes]]:
    base = Base.load(tiny_base)
    experts = attach(base, same_form(EXPERTS, 2, 4.0), 3)
    return base.hash, {name: tensors.encode(experts.initial(name)) for name in EXPERTS}


@pytest.fixture
def house(
    tmp_path: Path, tiny_base: Path, data: Path, states: tuple[str, dict[str, bytes]]
) -> Callable[..., House]:
    """Make a joined home; keyword arguments change its policy."""
    return house_maker(tmp_path, tiny_base, data, states)


@pytest.fixture(scope="module")
def shared_house(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_base: Path,
    data: Path,
    states: tuple[str, dict[str, bytes]],
) -> Callable[..., House]:
    """As `house`, for a home that a module's tests share."""
    return house_maker(tmp_path_factory.mktemp("shared"), tiny_base, data, states)


def house_maker(
    folder: Path, tiny_base: Path, data: Path, states: tuple[str, dict[str, bytes]]
) -> Callable[..., House]:
    """What makes a joined home in `folder`; keyword arguments change its policy."""

    def make(
        budget: float = 50.0,
        public: bool = False,
        scales: str = '["roi", "wsi"]',
        slides: Path | None = None,
        noised: float | None = None,
    ) -> House:
        settings = Settings("north", slides or data / "slides", data / MANIFEST, tiny_base)
        home = create(folder / "home", settings)
        policy = POLICY.format(budget=budget, public=str(public).lower(), scales=scales)
        policy += "" if noised is None else f"minimum_evaluation_noise = {noised}\n"
        (home.folder / "policy.toml").write_text(policy)
        key = keys.generate(folder / "coordinator.key")
        enrol_alone(home, key, folder / "kit.json")
        return House(home, key, dict(states[1]), states[0])

    return make


def spoilt(state: bytes) -> bytes:
    """An expert state of the right form and the wrong shape."""
    return tensors.encode({name: np.zeros((1, 1), np.float32) for name in tensors.decode(state, 1 << 28)})

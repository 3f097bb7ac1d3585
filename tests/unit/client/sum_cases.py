"""A round under distributed trust about one real agent: the coordinator's part, and two hospitals that hold noise alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from client import peers
from client.agent import Agent
from privacy import canonical, keys, tensors
from privacy.plan import Plan
from privacy.randomness import SecureRandom
from privacy.secagg import hospital, server
from privacy.secagg.grid import word_bits
from privacy.secagg.hospital_state import Agreed, Dealt, Masked, State
from privacy.secagg.layout import Layout
from privacy.secagg.outgoing import PARTS, STEPS
from privacy.secagg.session import Session
from privacy.secagg.shared_noise import Share, add_share
from privacy.secagg.terms import Distributed
from tests.unit.client.conftest import MECHANISM, House, ask

TERMS = Distributed(2.0**-10, 50, 2, 1)
OTHERS = ("east", "south")


@dataclass
class SumRound:
    """One attempt at a round: `shown` holds what the server shows at each step, `states` where the others stand."""

    house: House
    plan: Plan
    session: Session
    others: Mapping[str, keys.PrivateKey]
    states: dict[str, State] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)

    @classmethod
    def of(cls, house: House, number: int = 1, **changes: Any) -> SumRound:
        """Hospitals on each other's record, and terms for the three of them; `changes` are the session's."""
        plan = house.plan(number, distributed=TERMS)
        plan = replace(plan, mechanism=replace(MECHANISM, noise_multiplier=1.0))
        folder = house.home.folder.parent
        others = {}
        for name in OTHERS:
            file = folder / f"{name}.key"
            others[name] = keys.load(file) if file.exists() else keys.generate(file)
            peers.add(house.home.peers, "north", name, keys.public_path(file))
        shapes = {
            name: {
                tensor: value.shape for tensor, value in tensors.decode(house.states[name], 1 << 28).items()
            }
            for name in plan.experts
        }
        size = Layout(shapes).size
        noise = TERMS.noise(plan.mechanism, size)
        roll = {"north": keys.load(house.home.release_key).public} | {n: k.public for n, k in others.items()}
        bits = word_bits(noise.grid, len(roll), noise.sigma)
        session = Session(plan.campaign, plan.round, plan.hash, roll, 3, 1, size, bits)
        return cls(house, plan, replace(session, **changes), others)

    def request(self, step: str, shown: Mapping[str, bytes] = {}) -> dict[str, bytes]:
        """What the coordinator asks of the agent; `survivors` for the step `agree` are the names in `shown`."""
        parts = {
            "plan": self.plan.to_bytes(),
            "signature": self.plan.sign(self.house.coordinator),
            "session": self.session.to_bytes(),
            "session_signature": self.session.sign(self.house.coordinator),
            "step": step.encode(),
        }
        if step == "mask":
            parts |= {f"expert/{name}": self.house.states[name] for name in self.plan.experts_hash}
        if step == "agree":
            return parts | {"survivors": canonical.encode(sorted(shown))}
        return parts | {f"shown/{name}": data for name, data in shown.items()}

    def ask(self, agent: Agent, step: str, shown: Mapping[str, bytes] = {}) -> bytes:
        """The agent's message; a code where it refuses."""
        (reply,) = ask(agent, "sum", self.request(step, shown)).items()
        return reply[1] if reply[0] == PARTS[step] else b"refused: " + reply[1]

    def messages(self, step: str, shown: Mapping[str, bytes] = {}) -> dict[str, bytes]:
        """What the other two answer."""
        return {name: self._other(name, step, shown) for name in OTHERS}

    def _other(self, name: str, step: str, shown: Mapping[str, bytes]) -> bytes:
        key, data = self.others[name], list(shown.values())
        state = self.states.get(name)
        if step == "advertise":
            self.states[name], answer = hospital.advertise(self.session, name, key, self.session.roll, 1)
        elif step == "deal":
            self.states[name], answer = hospital.deal(state, data, key)  # type: ignore[arg-type]
        elif step == "mask":
            assert isinstance(state, Dealt)
            noise = TERMS.noise(self.plan.mechanism, self.session.size)
            self.shares[name] = add_share(np.zeros(self.session.size), noise, SecureRandom())
            self.states[name], answer = hospital.mask(state, data, self.shares[name], key)
        elif step == "agree":
            assert isinstance(state, Masked)
            self.states[name], answer = hospital.agree(state, sorted(shown), key)
        else:
            assert isinstance(state, Agreed)
            answer = hospital.reveal(state, data, key)
        return answer

    def through(self, agent: Agent, last: str = "reveal") -> tuple[dict[str, bytes], server.Total | None]:
        """All steps up to `last`: what was shown after it, and the sum where all were taken."""
        stage: Any = server.Adverts(self.session)
        shown: dict[str, bytes] = {}
        for step in STEPS[: STEPS.index(last) + 1]:
            answers = {"north": self.ask(agent, step, shown)} | self.messages(step, shown)
            for data in answers.values():
                stage = stage.add(data)
            stage, shown = stage.close(), answers
        return shown, stage if isinstance(stage, server.Total) else None

"""What a simulated hospital answers in a round under distributed trust: the agent's own code, on a vector that is known.

Every request opens the hospital's part anew from its folder, as an agent would that was killed after each answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from client.incoming import Refused, signed, signed_session, sum_step
from client.policy_in_force import PolicyInForce
from client.reservations import Reservations
from client.shared_round import SharedRounds
from client.step_checkpoints import StepCheckpoints
from client.sum_states import SumStates
from privacy import egress
from privacy.codes import Refusal
from privacy.errors import PlanRefused, WireError
from privacy.keys import PrivateKey, PublicKey
from privacy.ledger.account import Reservation
from privacy.ledger.store import Ledger
from privacy.plan import Plan
from privacy.policy import Policy, refusal
from privacy.randomness import SecureRandom
from privacy.secagg.layout import Layout
from privacy.secagg.outgoing import PARTS, SumExpectation
from privacy.secagg.shared_noise import Share, SharedNoise, add_share


@dataclass
class SumSteps:
    """One hospital's part; `shares` keeps what it put into each round, for the test alone."""

    folder: Path
    policy: Policy
    ledger: Ledger
    key: PrivateKey
    base: str
    code: str
    shapes: Mapping[str, tuple[int, ...]]  # of every expert
    value: float = 0.0
    shares: dict[int, Share] = field(default_factory=dict)

    def answer(self, parts: dict[str, bytes], coordinator: PublicKey) -> dict[str, bytes]:
        """The agent's answer to one step, as its egress guard lets it through."""
        plan = signed(Plan, parts, "plan", coordinator)
        checkpoints = StepCheckpoints(self.folder / "checkpoints", self.key)
        in_force = PolicyInForce(self.ledger, lambda: self.policy)
        in_force.record()
        paying = Reservations(self.ledger, checkpoints, in_force, self.code, lambda: None)
        rounds = SharedRounds(
            in_force,
            self.key,
            self.folder / "peers",
            SumStates(self.folder / "sums"),
            self.ledger,
            paying,
            self.code,
        )
        try:
            session, step = signed_session(parts, coordinator), sum_step(parts)
            message = rounds.answer(
                plan,
                session,
                step,
                parts,
                lambda: self._size(plan),
                lambda: None,
                self._share,
            )
        except (Refused, WireError) as error:
            code = error.code if isinstance(error, Refused) else Refusal.BAD_REQUEST
            return {"code": code.encode()}
        reply = {PARTS[step]: message}
        records = egress.check_reply(
            reply,
            self.policy,
            limit=1 << 28,
            epsilon=self.ledger.epsilon(self.policy.delta),
            destination=coordinator,
            expected=SumExpectation(session, self.policy.hospital, step),
        )
        self.ledger.log_egress(records)
        return reply

    def _size(self, plan: Plan) -> int:
        if (code := refusal(self.policy, plan, self.base)) is not None:
            raise PlanRefused(code, "as the policy says")
        return Layout(dict.fromkeys(plan.experts, self.shapes)).size

    def _share(self, noise: SharedNoise, held: Reservation) -> Share:
        share = add_share(np.full(noise.grid.size, self.value), noise, SecureRandom())
        self.shares[held.round] = share
        return share

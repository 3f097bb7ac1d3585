"""The experts on the agent's base, set to the states that a request sent along."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from client.model.base import Base
from client.model.errors import ModelError
from client.model.experts import Experts, attach
from client.rpc import LIMIT
from privacy import tensors
from privacy.codes import Refusal
from privacy.errors import PlanRefused
from privacy.evaluation import Evaluation, NoisedEvaluation
from privacy.plan import Plan

Asked = Plan | Evaluation | NoisedEvaluation


class ExpertStates:
    """The experts that a request names, on one base; attached anew where their forms or their seed are others."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._experts: Experts | None = None

    def attached(self, asked: Asked) -> Experts:
        """The experts that the request names, of their forms and seed."""
        held = self._experts
        if held is None or (held.forms, held.seed) != (asked.forms, asked.expert_seed):
            self._experts = None  # attaching takes the old ones off first, whether it comes to its end or not
            held = self._experts = attach(self._base, asked.forms, asked.expert_seed)
        return held

    def shapes(self, plan: Plan) -> dict[str, dict[str, tuple[int, ...]]]:
        """The shapes of what the plan trains, by expert and tensor. Raises `PlanRefused` as `load` does."""
        try:
            experts = self.attached(plan)
        except ModelError as error:
            raise PlanRefused(Refusal.EXPERTS_MISMATCH, str(error)) from error
        return {name: experts.shapes(name) for name in plan.experts}

    def load(self, asked: Asked, parts: Mapping[str, bytes]) -> Experts:
        """The experts, each set as it was sent in `parts`, or else to its public start.

        Raises `PlanRefused` (experts-mismatch) unless exactly the bytes that the request names were sent, and
        fit the base.
        """
        states = _states(parts, asked.experts_hash)
        try:
            experts = self.attached(asked)
            for name in experts.names:
                experts.load(name, states[name] if name in states else experts.initial(name))
        except ModelError as error:
            raise PlanRefused(Refusal.EXPERTS_MISMATCH, str(error)) from error
        return experts


def _states(
    parts: Mapping[str, bytes], hashes: Mapping[str, str]
) -> dict[str, dict[str, NDArray[np.float32]]]:
    states = {}
    for expert, digest in hashes.items():
        data = parts.get(f"expert/{expert}", b"")
        if tensors.digest(data) != digest:
            raise PlanRefused(
                Refusal.EXPERTS_MISMATCH, f"{expert} is missing or not the state that was named"
            )
        states[expert] = tensors.decode(data, LIMIT)
    return states

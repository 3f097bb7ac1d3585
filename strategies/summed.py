"""A round under distributed trust, once its sum is known: sum -> mean -> one step of Adam an expert.

In local mode each hospital takes Adam's steps on its own noised means, and the server averages what came of them. Here the
server alone holds a noised mean, so it takes the step that a hospital would (`privacy.descent`): the same Adam, at the plan's
learning rate, with moments that go on from round to round. A step moves no value by much more than the learning rate,
from the first on, as the moments' bias is taken off (`strategies.optimiser`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy import tensors
from privacy.plan import Plan
from privacy.secagg.grid import Words, to_real
from privacy.secagg.layout import Layout
from privacy.secagg.shared_noise import SharedNoise
from strategies import optimiser
from strategies.gathered import State
from strategies.intake import MAX_MEMORY_BYTES, MAX_STATE_BYTES, Aggregated
from strategies.optimiser import ADAM, Memory, Optimiser

_ADAM = Optimiser(ADAM, beta1=0.9, beta2=0.999, tau=1e-8)  # as in `privacy.descent`, which needs torch
_STEPS = "steps"  # names, beside the moments, how many rounds they are of


def messages_of(body: Mapping[str, Any]) -> set[str]:
    """The hashes of all messages of secure aggregation that a round's journal entry names; none of a round of releases."""
    return {digest for found in body.get("sum", {}).get("messages", {}).values() for digest in found.values()}


def layout_of(plan: Plan, states: Mapping[str, bytes]) -> Layout:
    """Where each number of the vector stands, by the states of the experts that the plan trains."""
    return Layout(
        {
            expert: {
                name: value.shape for name, value in tensors.decode(states[expert], MAX_STATE_BYTES).items()
            }
            for expert in plan.experts
        }
    )


def divisor(plan: Plan, patients: Mapping[str, int], hospitals: Sequence[str]) -> float:
    """The public number of patients that a sum over these hospitals is divided by; never a realised count."""
    return plan.mechanism.sampling_rate * sum(patients[name] for name in hospitals)


def check_memories(plan: Plan, states: Mapping[str, bytes], memories: Mapping[str, bytes]) -> None:
    """Raise `AggregationError` where `stepped` would for a memory: before hospitals pay for a step that can't be taken."""
    for expert in plan.experts:
        _memory(memories.get(expert), tensors.decode(states[expert], MAX_STATE_BYTES))


def stepped(
    plan: Plan,
    states: Mapping[str, bytes],
    memories: Mapping[str, bytes],
    words: Words,
    noise: SharedNoise,
    hospitals: Sequence[str],
    patients: Mapping[str, int],
) -> dict[str, Aggregated]:
    """Every trained expert after the round; `words` are the sum over `hospitals`.

    Raises `AggregationError` for a memory that is not of these experts under this optimiser.
    """
    mean = to_real(words, noise.grid) / divisor(plan, patients, hospitals)
    std = noise.std(len(hospitals)) / divisor(plan, patients, hospitals)
    report = {"hospitals": list(hospitals), "too_few": False, "noise_std": std}
    rule = replace(_ADAM, learning_rate=plan.learning_rate)
    return {
        expert: _stepped(states[expert], memories.get(expert), values, rule, report)
        for expert, values in layout_of(plan, states).split(mean).items()
    }


def _stepped(
    state: bytes,
    saved: bytes | None,
    mean: Mapping[str, NDArray[np.float64]],
    rule: Optimiser,
    report: Mapping[str, Any],
) -> Aggregated:
    start: State = tensors.decode(state, MAX_STATE_BYTES)
    memory = _memory(saved, start)
    steps = memory[_STEPS] + 1
    rule = rule.corrected(int(steps[0]))
    new: dict[str, NDArray[np.float32]] = {}
    remembered = {_STEPS: steps}
    for tensor, value in start.items():
        step, kept = rule.step(tensor, -mean[tensor], memory)
        new[tensor] = np.asarray(np.add(value, step, dtype=np.float64), np.float32)
        remembered |= kept
    return Aggregated(tensors.encode(new), optimiser.save(remembered), report)


def _memory(saved: bytes | None, start: State) -> Memory:
    """Adam's moments of these tensors, and how many steps they hold; zeros before the first."""
    zeros = {name: np.zeros_like(value) for name, value in _ADAM.begin(start).items()}
    zeros[_STEPS] = np.zeros(1, np.float32)
    return zeros if saved is None else optimiser.load(saved, zeros, MAX_MEMORY_BYTES)

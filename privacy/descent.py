"""From noised steps to an expert's delta: post-processing, and the only way to an `ExpertDelta`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privacy.delta import FROM_DESCENT, ExpertDelta
from privacy.errors import MechanismError
from privacy.experts import EXPERTS
from privacy.mechanism import Mechanism
from privacy.noise import Noised

__all__ = ["FROM_CHECKPOINT", "SEPARATOR", "ExpertDelta", "PrivateDescent", "StepState"]

SEPARATOR = "::"

_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8
_HERE = object()
FROM_CHECKPOINT = object()  # held by `privacy.checkpoint` alone: see StepState


@dataclass(frozen=True)
class StepState:
    """All that a descent holds after `steps` noised steps, float32; with its public start, the whole descent.

    It is a function of public values and of noised means, and of nothing else. Its tensors are the descent's own
    until the next step: write them down, don't keep them. Made by `PrivateDescent.state`, and by
    `privacy.checkpoint.decode` from what this hospital's own key signed.
    """

    now: Mapping[str, Tensor]
    first: Mapping[str, Tensor]
    second: Mapping[str, Tensor]
    steps: int
    noise_std: float
    mechanism: Mechanism
    secure: bool
    made_by: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.made_by is not _HERE and self.made_by is not FROM_CHECKPOINT:
            raise MechanismError("a StepState comes from a descent, or from a checkpoint of one, only")


class PrivateDescent:
    """Adam (0.9, 0.999) on noised means, from a public start.

    `start` names parameters "expert::tensor" and is copied; `learning_rate` is the plan's.  Never sees a
    gradient that was not noised, so all that it holds is safe to look at.

    | a noised mean              | what the step does                                                       |
    |----------------------------|--------------------------------------------------------------------------|
    | zero in a coordinate       | leaves it where it was (0 / tiny), or lets it drift on by its momentum   |
    | infinite or NaN            | makes that coordinate NaN for good: `seal` refuses the delta by name     |
    | whatever its size          | moves a coordinate by no more than `strategies.bounds` says              |
    """

    def __init__(self, start: Mapping[str, Tensor], learning_rate: float) -> None:
        if not (math.isfinite(learning_rate) and learning_rate > 0):
            raise MechanismError(f"learning_rate must be finite and above 0, not {learning_rate}")
        for name in start:
            expert, separator, tensor = name.partition(SEPARATOR)
            if not separator or not tensor or expert not in EXPERTS:
                raise MechanismError(f"parameter {name!r} is not named <expert>{SEPARATOR}<tensor>")
        if not start:
            raise MechanismError("nothing to train: start holds no parameters")
        self._start = {name: value.detach().to(torch.float32).clone() for name, value in start.items()}
        self._now = {name: value.clone() for name, value in self._start.items()}
        self._first = {name: torch.zeros_like(value) for name, value in self._start.items()}
        self._second = {name: torch.zeros_like(value) for name, value in self._start.items()}
        self._learning_rate = learning_rate
        self._paid: tuple[Mechanism, float] | None = None  # the mechanism, and the noise_std of its steps
        self._secure = True
        self.steps_taken = 0

    @classmethod
    def resumed(cls, start: Mapping[str, Tensor], learning_rate: float, state: StepState) -> PrivateDescent:
        """The descent that `state` was taken from, given the same start and rate: its next step is the same.

        Raises `MechanismError` where the state holds other parameters than the start.
        """
        descent = cls(start, learning_rate)
        for mine, theirs in (
            (descent._now, state.now),
            (descent._first, state.first),
            (descent._second, state.second),
        ):
            if {name: value.shape for name, value in theirs.items()} != {
                name: value.shape for name, value in mine.items()
            }:
                raise MechanismError("the state holds other parameters than the descent started from")
            for name, value in theirs.items():
                mine[name].copy_(value)
        descent._paid = state.mechanism, state.noise_std
        descent._secure = state.secure
        descent.steps_taken = state.steps
        return descent

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The weights as they stand now, float32.  Read them into the model; do not write to them."""
        return self._now

    def step(self, noised: Noised) -> None:
        """Take one Adam step.

        Raises `MechanismError` where the parameters are not the start's, or where mechanism or noise differ
        from the steps before: a round is paid for as one mechanism.
        """
        if {name: mean.shape for name, mean in noised.mean.items()} != {
            name: value.shape for name, value in self._start.items()
        }:
            raise MechanismError("the noised mean holds other parameters than the descent started from")
        if self._paid is not None and self._paid != (noised.mechanism, noised.noise_std):
            raise MechanismError("the mechanism changed within the round")
        if self.steps_taken == noised.mechanism.steps:
            raise MechanismError(f"all {noised.mechanism.steps} steps that the mechanism pays for are taken")
        self._paid = noised.mechanism, noised.noise_std
        self._secure = self._secure and noised.secure
        self.steps_taken += 1
        correct1 = 1.0 - _BETA1**self.steps_taken
        correct2 = 1.0 - _BETA2**self.steps_taken
        for name, mean in noised.mean.items():
            gradient = mean.to(self._now[name].device)
            self._first[name].lerp_(gradient, 1.0 - _BETA1)
            self._second[name].lerp_(gradient.square(), 1.0 - _BETA2)
            spread = (self._second[name] / correct2).sqrt_().add_(_TINY)
            self._now[name] -= self._learning_rate / correct1 * self._first[name] / spread

    def state(self) -> StepState:
        """What it takes to go on from here in another process.  Raises `MechanismError` before the first step."""
        mechanism, noise_std = self._stepped()
        return StepState(
            now=self._now,
            first=self._first,
            second=self._second,
            steps=self.steps_taken,
            noise_std=noise_std,
            mechanism=mechanism,
            secure=self._secure,
            made_by=_HERE,
        )

    def _stepped(self) -> tuple[Mechanism, float]:
        if self._paid is None:
            raise MechanismError("no step was taken, so there is nothing to release or to keep")
        return self._paid

    def deltas(self) -> dict[str, ExpertDelta]:
        """The change since the start, split by expert.  Raises `MechanismError` before the first step."""
        mechanism, noise_std = self._stepped()
        split: dict[str, dict[str, NDArray[np.float32]]] = {}
        for name, start in self._start.items():
            expert, _, tensor = name.partition(SEPARATOR)
            split.setdefault(expert, {})[tensor] = (self._now[name] - start).cpu().numpy()
        return {
            expert: ExpertDelta(
                expert=expert,
                tensors=tensors,
                noise_std=noise_std,
                mechanism=mechanism,
                steps=self.steps_taken,
                secure=self._secure,
                made_by=FROM_DESCENT,
            )
            for expert, tensors in split.items()
        }

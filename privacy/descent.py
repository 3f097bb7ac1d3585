"""From noised steps to an expert's delta: post-processing, and the only way to an `ExpertDelta`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privacy.delta import FROM_DESCENT, ExpertDelta
from privacy.errors import MechanismError
from privacy.experts import EXPERTS
from privacy.noise import Noised

__all__ = ["SEPARATOR", "ExpertDelta", "PrivateDescent"]

SEPARATOR = "::"

_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8


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
        self._last: Noised | None = None
        self._secure = True
        self.steps_taken = 0

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
        last = self._last
        if last is not None and (last.mechanism, last.noise_std) != (noised.mechanism, noised.noise_std):
            raise MechanismError("the mechanism changed within the round")
        if self.steps_taken == noised.mechanism.steps:
            raise MechanismError(f"all {noised.mechanism.steps} steps that the mechanism pays for are taken")
        self._last = noised
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

    def deltas(self) -> dict[str, ExpertDelta]:
        """The change since the start, split by expert.  Raises `MechanismError` before the first step."""
        if self._last is None:
            raise MechanismError("no step was taken, so there is nothing to release")
        split: dict[str, dict[str, NDArray[np.float32]]] = {}
        for name, start in self._start.items():
            expert, _, tensor = name.partition(SEPARATOR)
            split.setdefault(expert, {})[tensor] = (self._now[name] - start).cpu().numpy()
        return {
            expert: ExpertDelta(
                expert=expert,
                tensors=tensors,
                noise_std=self._last.noise_std,
                mechanism=self._last.mechanism,
                steps=self.steps_taken,
                secure=self._secure,
                made_by=FROM_DESCENT,
            )
            for expert, tensors in split.items()
        }

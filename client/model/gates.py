"""Which experts act, and how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from client.model.errors import ExpertError


@dataclass(frozen=True)
class Gates:
    """How much of each task's expert serves each request: float [N, k], a row a request, a column a task."""

    tasks: tuple[str, ...]
    weights: Tensor

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or self.weights.shape[1] != len(self.tasks):
            shape = tuple(self.weights.shape)
            raise ExpertError(
                f"gates of {len(self.tasks)} tasks are [requests, {len(self.tasks)}], not {shape}"
            )
        if not bool(torch.isfinite(self.weights).all()) or bool((self.weights < 0).any()):
            raise ExpertError("gates must be finite and at least 0")


def declared(asked: Sequence[str], tasks: tuple[str, ...]) -> Gates:
    """The gates of requests that name their tasks, one a request: of `tasks`, 1 for its own and 0 for the others."""
    own = torch.tensor([[float(task == named) for task in tasks] for named in asked])
    return Gates(tasks, own.reshape(len(asked), len(tasks)))


@dataclass(frozen=True)
class Active:
    """The experts that act, and the gates of each request, float [requests, experts]; None where all are 1."""

    experts: tuple[str, ...] = ()
    gates: Tensor | None = None


class Switch:
    """What every layer of a base reads during a forward pass: the active experts, and the gates of each row of the
    batch, float [N, experts] or None where all are 1.
    """

    def __init__(self) -> None:
        self.experts: tuple[str, ...] = ()
        self.rows: Tensor | None = None

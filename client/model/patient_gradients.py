"""One backward pass over a batch of rows -> one gradient a patient, for every trained parameter.

Each trained layer's weight gradient is, for one row, (output gradient)^T (input); the tape keeps these row
by row and adds them up by patient, so that a batch of many patients costs one forward and one backward
pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from client.model.experts import Experts


class GradientTape:
    """Per-patient gradients [P, ...] of the parameters in `trained` ("expert::tensor"), added up over
    backward passes.

    Say `at(patients of the rows)` before each forward pass of a batch; gradients reach the patients named
    then, however many forward passes one backward pass covers.
    """

    def __init__(self, trained: Mapping[str, Tensor], patients: int) -> None:
        device = next(iter(trained.values())).device
        self.gradients = {
            key: torch.zeros((patients, *value.shape), dtype=torch.float32, device=device)
            for key, value in trained.items()
        }
        self.anchor = torch.zeros(
            1, device=device, requires_grad=True
        )  # keeps the graph alive where nothing else does
        self._rows: Tensor | None = None

    def at(self, rows: Tensor) -> None:
        """The next forward passes' rows belong to these patients, int64 [N]."""
        self._rows = rows

    def rows(self) -> Tensor:
        """Patient index of each row of the batch now in the forward pass."""
        assert self._rows is not None, "say at(...) before the forward pass"
        return self._rows

    def records(self, key: str) -> bool:
        """Whether the parameter is being trained."""
        return key in self.gradients

    def columns(self, key: str) -> int:
        """How many of the parameter's columns are: the first."""
        return self.gradients[key].shape[-1]

    def add(self, key: str, per_row: Tensor, rows: Tensor) -> None:
        """Add one gradient a row, per_row [N, ...], to the patients of rows [N]."""
        if len(per_row) != len(rows):
            raise ValueError(f"{key}: {len(per_row)} rows in the batch, {len(rows)} have a patient")
        self.gradients[key].index_add_(0, rows, per_row.to(torch.float32))


@contextmanager
def recording(experts: Experts, tape: GradientTape) -> Iterator[GradientTape]:
    """Attach the tape to the experts' layers for the time of the block."""
    for module in experts.recorders:
        module.tape = tape  # type: ignore[assignment]
    try:
        yield tape
    finally:
        for module in experts.recorders:
            module.tape = None  # type: ignore[assignment]


def patient_gradients(
    experts: Experts,
    trained: Mapping[str, Tensor],
    patients: int,
    batches: Iterator[Callable[[GradientTape], Tensor]],
) -> dict[str, Tensor]:
    """Gradients [P, ...] of each patient's loss, which is the sum of its rows' losses over all batches.

    Each batch is a function that runs the forward pass, telling the tape whose rows they are, and returns
    the rows' losses [N]; its backward pass is run before the next batch's forward pass.
    """
    tape = GradientTape(trained, patients)
    with recording(experts, tape):
        for losses in batches:
            loss = losses(tape).sum()
            if loss.requires_grad:
                loss.backward()
    return tape.gradients

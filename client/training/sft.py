"""Supervised fine-tuning of the scale experts: direct answers, no chain of thought.

A sample's loss is the mean negative log-likelihood of its answer's tokens (with the end token); a patient's
loss is the mean over its drawn samples. Nothing is normalised over the batch, so that a patient's gradient
is that patient's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from client.model.experts import Experts
from client.model.forward import answer_logprobs, read
from client.model.patient_gradients import GradientTape, patient_gradients
from client.tasks.prompt import direct
from client.tasks.registry import TASKS
from client.tasks.sample import Sample
from client.training.batch import Item, LoadInputs, Performance, items, micro_batches


def gradients(
    experts: Experts,
    trained: Mapping[str, Tensor],
    drawn: Sequence[Sequence[Sample]],
    load_inputs: LoadInputs,
    performance: Performance,
) -> dict[str, Tensor]:
    """The gradient of each patient's loss, [P, ...] a parameter; drawn[p] holds patient p's samples, at
    least one.
    """
    rows = items(drawn, load_inputs, experts.prompts, direct)
    return patient_gradients(experts, trained, len(drawn), _batches(experts, rows, performance))


def _batches(
    experts: Experts, rows: Sequence[Item], performance: Performance
) -> Iterator[Callable[[GradientTape], Tensor]]:
    answered = [
        (item, experts.prompts.answer(TASKS[item.sample.task].render(item.sample.answer))) for item in rows
    ]
    for batch in micro_batches(
        answered, lambda r: r[0].sample.scale, lambda r: len(r[0].query.prompt) + len(r[1]), performance.rows
    ):
        yield partial(_losses, experts, batch)


def _losses(experts: Experts, batch: Sequence[tuple[Item, list[int]]], tape: GradientTape) -> Tensor:
    rows = [item for item, _ in batch]
    device = experts.base.device
    tape.at(torch.tensor([item.patient for item in rows], device=device))
    with experts.only(rows[0].sample.scale, None):
        prefix = read(experts, [item.query for item in rows])
        logprobs, real = answer_logprobs(experts, prefix, [ids for _, ids in batch])
    weights = torch.tensor([item.weight for item in rows], device=device)
    return -weights * logprobs.sum(1) / real.sum(1)

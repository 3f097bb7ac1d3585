"""Supervised fine-tuning of the scale experts and the router: answers that hospitals know, no chain of thought that
anyone wrote.

Half of the drawn samples (a coin of the patient's own) are asked directly. The other half are asked to think
first, as the next stage will ask: the model's own thought, as it stands now, goes before the known answer. In
either form the loss is the mean negative log-likelihood of the answer's tokens, of the tags about thought and answer and
of the end; what was thought is no target, and where nothing was, no tag before the answer is one. Where the router is
trained, its cross-entropy of the sample's task, among the hospital's own, is added; it moves nothing but the router. A
patient's loss is the mean over its drawn samples. Nothing is normalised over the batch, so that a patient's gradient is
that patient's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from client.model import router
from client.model.checkpointing import checkpointed
from client.model.experts import Experts
from client.model.forward import Query, answer_logprobs, read
from client.model.patient_gradients import GradientTape, patient_gradients
from client.model.prompt_tokens import PromptBuilder
from client.tasks.grammar import ANSWER_BEGINS, ANSWER_ENDS, THOUGHT_BEGINS, THOUGHT_ENDS, own_thought
from client.tasks.prompt import direct, thinking
from client.training import rollout
from client.training.batch import (
    Extent,
    Item,
    Performance,
    by_kind,
    company,
    items,
    micro_batches,
    padded,
)
from client.training.draw import Draw

THINKING_SHARE = 0.5
THOUGHT_TOKENS = 24  # a longer thought is cut


@dataclass(frozen=True)
class Target:
    """A drawn sample and what follows its prompt: token ids, of which those in `thought` are no target."""

    item: Item
    ids: tuple[int, ...]
    thought: range = range(0)


def gradients(draw: Draw) -> dict[str, Tensor]:
    """The gradient of each drawn patient's loss, [P, ...] a parameter.

    seeds[p] alone decides which of patient p's samples are asked to think, whoever else was drawn.
    """
    experts, performance = draw.experts, draw.performance
    rows = items(draw.samples, draw.load_inputs, experts.prompts, direct)
    coins = np.concatenate(
        [
            np.random.Generator(np.random.Philox(seed)).random(len(own))
            for seed, own in zip(draw.seeds, draw.samples, strict=True)
        ]
    )
    asked = [row for row, coin in zip(rows, coins, strict=True) if coin >= THINKING_SHARE]
    thoughtful = [row for row, coin in zip(rows, coins, strict=True) if coin < THINKING_SHARE]
    targets = [
        Target(row, tuple(experts.prompts.answer(experts.prompts.true_answer(row.sample)))) for row in asked
    ]
    targets += _after_thinking(experts, thoughtful, performance)
    with checkpointed(experts, performance.checkpointing):
        return patient_gradients(
            experts, draw.parameters, len(draw), _batches(experts, targets, draw.tasks, performance)
        )


def _after_thinking(experts: Experts, rows: Sequence[Item], performance: Performance) -> list[Target]:
    """The rows asked to think, each with the thought that the model has now, and then the known answer.

    A batch of choices holds one patient's rows only (`client.training.batch`).
    """
    prompts = experts.prompts
    closes = prompts.stop(THOUGHT_ENDS)
    targets = []
    asked = [
        replace(row, query=Query(prompts.prompt(thinking(row.sample), row.query.visual), row.query.visual))
        for row in rows
    ]
    for scale, own in by_kind(asked, lambda r: r.sample.scale).items():
        with experts.only(scale, None), experts.merged():
            for batch in micro_batches(
                own,
                lambda r: r.patient,
                lambda r: len(r.query.prompt),
                performance.sampled_tokens,
                padded(lambda r: Extent(len(r.query.prompt) + THOUGHT_TOKENS)),
            ):
                said = rollout.greedy(experts, [row.query for row in batch], THOUGHT_TOKENS, closes)
                targets += [_target(prompts, row, ids) for row, ids in zip(batch, said, strict=True)]
    return targets


def _target(prompts: PromptBuilder, row: Item, said: Sequence[int]) -> Target:
    """The known answer after the thought in what was `said`; where there was none, no tag of a thought is a target."""
    begins, own = prompts.ids(THOUGHT_BEGINS), prompts.ids(own_thought(prompts.text(list(said))))
    ends = prompts.ids(THOUGHT_ENDS + ANSWER_BEGINS)
    known = prompts.answer(prompts.true_answer(row.sample) + ANSWER_ENDS)
    thought = range(len(begins), len(begins) + len(own)) if own else range(len(begins) + len(ends))
    return Target(row, (*begins, *own, *ends, *known), thought)


def _batches(
    experts: Experts, targets: Sequence[Target], tasks: Collection[str], performance: Performance
) -> Iterator[Callable[[GradientTape], Tensor]]:
    for batch in micro_batches(
        targets,
        lambda t: (t.item.sample.scale, company(experts.base, t.item)),
        lambda t: len(t.item.query.prompt) + len(t.ids),
        performance.tokens,
        padded(lambda t: Extent(len(t.item.query.prompt), 1, len(t.ids))),
    ):
        yield partial(_losses, experts, batch, tasks)


def _losses(experts: Experts, batch: Sequence[Target], tasks: Collection[str], tape: GradientTape) -> Tensor:
    rows = [target.item for target in batch]
    device = experts.base.device
    tape.at(torch.tensor([item.patient for item in rows], device=device))
    scale = rows[0].sample.scale
    with experts.only(scale, None):
        prefix = read(experts, [item.query for item in rows])
        logprobs, real = answer_logprobs(experts, prefix, [target.ids for target in batch])
    wanted = real.clone()
    for row, target in zip(wanted, batch, strict=True):
        row[target.thought.start : target.thought.stop] = False
    weights = torch.tensor([item.weight for item in rows], device=device)
    losses = -(logprobs * wanted).sum(1) / wanted.sum(1)
    if tape.records(experts.router.key):
        losses = losses + router.losses(experts, prefix, scale, [item.sample.task for item in rows], tasks)
    return weights * losses

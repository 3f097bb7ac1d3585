"""GRPO of the task experts on frozen scale experts (METHOD, stage 2).

For a prompt's G rollouts with rewards R_i:

    A_i = (R_i - mean R) / (std R + 1e-4)
    L   = - (1/G) sum_i (1/T_max) sum_t [ A_i ratio_t - beta (exp(d_t) - d_t - 1) ]
    d_t = log pi_ref - log pi

with one gradient step a draw, so that ratio_t = 1 in value. pi_ref is the same model with the task expert
off. Rewards are compared within one prompt's group only and T_max is a public constant, so a patient's
gradient depends on that patient alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from client.model.checkpointing import checkpointed
from client.model.experts import Experts
from client.model.forward import answer_logprobs, read
from client.model.gates import declared
from client.model.patient_gradients import GradientTape, patient_gradients
from client.tasks.grammar import ANSWER_ENDS
from client.tasks.prompt import thinking
from client.tasks.registry import TASKS
from client.tasks.reward import reward
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
from privacy.descent import SEPARATOR
from privacy.experts import tasks_at

STD_FLOOR = 1e-4
Rewarded = Callable[[str, Sequence[float]], None]


@dataclass(frozen=True)
class Settings:
    """Public constants of the stage: group size G >= 2, KL weight beta >= 0, most answer tokens T_max >=
    1.
    """

    rollouts: int
    kl_beta: float
    max_answer_tokens: int

    def __post_init__(self) -> None:
        if self.rollouts < 2 or self.kl_beta < 0 or self.max_answer_tokens < 1:
            raise ValueError(
                f"rollouts is at least 2, kl_beta at least 0 and max_answer_tokens at least 1: {self}"
            )


@dataclass(frozen=True)
class Group:
    """One prompt's rollouts: its distinct answers (token ids), how often each came, and the sum of its
    advantages.

    Equal answers of one prompt have equal log-probabilities, so they are computed once and weighted: the
    same loss.
    """

    item: Item
    answers: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    advantages: tuple[float, ...]


def gradients(
    draw: Draw, settings: Settings, rewarded: Rewarded = lambda task, rewards: None
) -> dict[str, Tensor]:
    """The gradient of each drawn patient's loss, [P, ...] a parameter.

    seeds[p] alone decides what patient p's rollouts sample, whoever else was drawn. `rewarded(task, rewards)` is told
    of each group's rewards, for local eyes: nothing here depends on it.
    """
    experts, performance = draw.experts, draw.performance
    rows = items(draw.samples, draw.load_inputs, experts.prompts, thinking)
    groups = _groups(draw, rows, settings, rewarded)
    with checkpointed(experts, performance.checkpointing):
        return patient_gradients(
            experts, draw.parameters, len(draw), _batches(experts, groups, settings, performance)
        )


def advantages(rewards: Sequence[float]) -> tuple[float, ...]:
    """Rewards relative to their own group: zero where all are equal."""
    values = np.asarray(rewards, dtype=np.float64)
    if values.min() == values.max():  # of three times 0.1 the mean is another number
        return (0.0,) * len(values)
    return tuple(((values - values.mean()) / (values.std() + STD_FLOOR)).tolist())


def group(item: Item, answers: Sequence[Sequence[int]], rewards: Sequence[float]) -> Group:
    """The G rollouts of a prompt with their rewards, equal answers put together."""
    weights: dict[tuple[int, ...], tuple[int, float]] = {}
    for ids, advantage in zip(answers, advantages(rewards), strict=True):
        count, total = weights.get(tuple(ids), (0, 0.0))
        weights[tuple(ids)] = (count + 1, total + advantage)
    counts, totals = zip(*weights.values(), strict=True)
    return Group(item, tuple(weights), counts, totals)


def parts(whole: Group, tokens: int) -> list[Group]:
    """The group as groups of fewer answers, each with its prompt of at most `tokens` tokens where one answer fits.

    The loss is a sum over answers, already relative to the whole group: the parts' losses add up to the same.
    """
    longest = max(map(len, whole.answers))
    most = max(1, (tokens - len(whole.item.query.prompt)) // longest)
    return [
        replace(
            whole,
            answers=whole.answers[i : i + most],
            counts=whole.counts[i : i + most],
            advantages=whole.advantages[i : i + most],
        )
        for i in range(0, len(whole.answers), most)
    ]


def token_losses(
    logprobs: Tensor, reference: Tensor | None, advantage: Tensor, count: Tensor, beta: float
) -> Tensor:
    """The bracket of L, negated and summed over equal answers: logprobs and reference [M, T] -> [M, T].

    advantage [M] is the sum over the equal answers, count [M] their number; reference is None where beta is
    0.
    """
    gain = advantage[:, None] * torch.exp(logprobs - logprobs.detach())
    if reference is None:
        return -gain
    difference = reference - logprobs
    return count[:, None] * beta * (torch.expm1(difference) - difference) - gain


def _groups(draw: Draw, rows: Sequence[Item], settings: Settings, rewarded: Rewarded) -> list[Group]:
    """Sample and reward every item's group. A batch of choices holds one patient's prompts only, of all tasks: which
    experts are held is the same whoever was drawn (`client.training.batch`). Those are the tasks' that train; a task whose
    expert doesn't train is sampled for nothing, and `cohort_of` draws none.
    """
    experts = draw.experts
    trained = {name.split(SEPARATOR)[0] for name in draw.parameters}
    shape = (settings.rollouts, settings.max_answer_tokens)
    streams = [np.random.Generator(np.random.Philox(seed)) for seed in draw.seeds]
    numbered = [(item, streams[item.patient].random(shape)) for item in rows]
    stop = experts.prompts.stop(ANSWER_ENDS)
    groups = []
    for scale, own in by_kind(numbered, lambda r: r[0].sample.scale).items():
        possible = tuple(task for task in tasks_at(scale) if f"task/{task}" in trained)
        with experts.gated(scale, declared(possible, possible)), experts.merged():
            for batch in micro_batches(
                own,
                lambda r: r[0].patient,
                lambda r: len(r[0].query.prompt),
                draw.performance.sampled_tokens,
                padded(  # each rollout has its own copy of the prompt's keys and values
                    lambda r: Extent(
                        settings.rollouts * (len(r[0].query.prompt) + settings.max_answer_tokens)
                    )
                ),
            ):
                queries = [item.query for item, _ in batch]
                uniforms = torch.from_numpy(np.stack([numbers for _, numbers in batch]))
                gates = declared([item.sample.task for item, _ in batch], possible)
                with experts.gated(scale, gates):
                    sampled = draw.sampler(experts, queries, uniforms, stop)
                for (item, _), answers in zip(batch, sampled, strict=True):
                    texts = [experts.prompts.text(answer) for answer in answers]
                    rewards = [reward(TASKS[item.sample.task], text, item.sample) for text in texts]
                    rewarded(item.sample.task, rewards)
                    groups.append(group(item, answers, rewards))
    return groups


def _batches(
    experts: Experts, groups: Sequence[Group], settings: Settings, performance: Performance
) -> Iterator[Callable[[GradientTape], Tensor]]:
    if settings.kl_beta == 0:  # without the KL term a group of equal rewards has a gradient of exactly zero
        groups = [g for g in groups if any(g.advantages)]
    for batch in micro_batches(
        [part for g in groups for part in parts(g, performance.tokens)],
        lambda g: (g.item.sample.scale, g.item.sample.task, company(experts.base, g.item)),
        lambda g: max(len(ids) for ids in g.answers),
        performance.tokens,
        padded(lambda g: Extent(len(g.item.query.prompt), len(g.answers), max(map(len, g.answers)))),
    ):
        yield partial(_losses, experts, batch, settings)


def _losses(experts: Experts, batch: Sequence[Group], settings: Settings, tape: GradientTape) -> Tensor:
    sample, device = batch[0].item.sample, experts.base.device
    queries = [g.item.query for g in batch]
    answers = [ids for g in batch for ids in g.answers]
    prompt = torch.tensor([i for i, g in enumerate(batch) for _ in g.answers], device=device)
    patients = torch.tensor([g.item.patient for g in batch], device=device)
    weights = torch.tensor([g.item.weight for g in batch], device=device)
    advantage = torch.tensor([a for g in batch for a in g.advantages], device=device)
    count = torch.tensor([c for g in batch for c in g.counts], device=device)
    reference = None
    if settings.kl_beta > 0:
        with torch.no_grad(), experts.only(sample.scale, None):
            reference, _ = answer_logprobs(experts, read(experts, queries).rows(prompt), answers)
    with experts.only(sample.scale, sample.task):
        tape.at(patients)
        prefix = read(experts, queries).rows(prompt)
        tape.at(patients[prompt])
        logprobs, real = answer_logprobs(experts, prefix, answers)
    losses = token_losses(logprobs, reference, advantage, count, settings.kl_beta)
    return (losses * real).sum(1) * weights[prompt] / (settings.rollouts * settings.max_answer_tokens)

"""The router: which task experts serve a question that names no task.

    gates = top-k of softmax(2 W h / |h|), renormalised

h is what the question adds to the image before it (`client.model.forward.Prefix`), read through the scale expert alone:
the image makes up most of the states themselves, and noise would hide what is asked. W is the expert `router`: a row a
task, in the order of `privacy.experts.TASKS`; tasks that can't be asked at the scale have no part. There is no bias: what
all h share serves as one, and the noise of a released tensor of so few values could not be checked.

It is trained in SFT, against the task that each sample names, and frozen in RL: gates that learn under GRPO collapse. h
carries no gradient, so the router never moves the language model. A hospital that has no labels of a task would only teach
it that no question is of that task, and averaged with the others that is a vote against them. So the softmax of the
loss is restricted to the tasks that the hospital's policy names (FedRS, Li and Zhan, KDD 2021): a policy tells of no
patient, where which tasks have samples would.

Shapes: N requests, K tasks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from client.model.experts import Experts
from client.model.forward import Prefix, Query, read
from client.model.gates import Gates
from privacy.experts import TASKS, tasks_at

TOP_K = 2  # task experts that serve a question which names no task
_NAMES = tuple(TASKS)
# Of what the router sees, whatever the base. Under the clip that it shares with the scale experts, at length 1 it learnt
# too slowly, and at 4 it took from their answers; at 2 neither.
_LENGTH = 2.0


@torch.no_grad()
def gates_for(experts: Experts, queries: Sequence[Query], top_k: int) -> Gates:
    """How much each task's expert serves each query, all of one scale; a row's gates sum to 1, and at most `top_k`
    (at least 1) are above 0.
    """
    if top_k < 1:
        raise ValueError(f"top_k is at least 1, not {top_k}")
    scale = queries[0].visual.scale
    with experts.only(scale, None):
        shares = torch.softmax(_logits(experts, read(experts, queries), scale), dim=-1)
    kept = shares.topk(min(top_k, len(_NAMES)), dim=-1)
    weights = torch.zeros_like(shares).scatter(1, kept.indices, kept.values)
    return Gates(_NAMES, weights / weights.sum(-1, keepdim=True))


def losses(
    experts: Experts, prefix: Prefix, scale: str, tasks: Sequence[str], among: Collection[str]
) -> Tensor:
    """Cross-entropy of each read request's task `among` these tasks, float32 [N]; its gradient is the router's alone. 0 where the
    task is none of them, and where it is the only one that can be asked at the scale.
    """
    device = prefix.instruction.device
    wanted = torch.tensor([_NAMES.index(task) for task in tasks], device=device)
    told_apart = torch.tensor([name in among for name in _NAMES], device=device)
    counts = told_apart[wanted]
    logits = _logits(experts, prefix, scale).masked_fill(counts[:, None] & ~told_apart, float("-inf"))
    return torch.where(counts, functional.cross_entropy(logits, wanted, reduction="none"), 0.0)


def _logits(experts: Experts, prefix: Prefix, scale: str) -> Tensor:
    asked = _LENGTH * functional.normalize(prefix.instruction, dim=-1)
    possible = torch.tensor([task in tasks_at(scale) for task in _NAMES], device=asked.device)
    return experts.router(asked[:, None])[:, 0].masked_fill(~possible, float("-inf"))

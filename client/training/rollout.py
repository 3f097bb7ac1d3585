"""Answers sampled (or taken greedily) from the model, many rows at a time.

Each prompt is read once; its keys and values are repeated for its group. The cache grows in place, and rows
that have ended leave the batch.

Sampling is by inversion of the cumulative distribution with uniform numbers that the caller hands in row by
row: which other rows share its batch changes the last bits of a row's numbers, and so now and then a choice. Where
that must not be, as in training, callers give one patient's rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from client.model.experts import Experts
from client.model.forward import Prefix, Query, read
from client.model.stop import Stop

# What `sample` does; by vLLM: `client.training.vllm`.
Sampler = Callable[[Experts, Sequence[Query], Tensor, Stop], list[list[list[int]]]]

KEEP = 0.75  # rows that have ended leave once fewer than this share of the batch still runs


@torch.no_grad()
def sample(experts: Experts, queries: Sequence[Query], uniforms: Tensor, stop: Stop) -> list[list[list[int]]]:
    """Answers at temperature 1: for each query its G answers' token ids, the token that ended one last.

    uniforms: float64 [queries, G, most tokens], independent and uniform in [0, 1).
    """
    group, most = uniforms.shape[1:]
    device = experts.base.device
    with experts.merged():
        prefix = read(experts, queries).rows(
            torch.arange(len(queries), device=device).repeat_interleave(group)
        )
        rows = _generate(experts, prefix, most, stop, uniforms.reshape(-1, most).to(device))
    return [rows[i : i + group] for i in range(0, len(rows), group)]


@torch.no_grad()
def greedy(experts: Experts, queries: Sequence[Query], most: int, stop: Stop) -> list[list[int]]:
    """The likeliest token at each place: token ids of one answer a query."""
    with experts.merged():
        return _generate(experts, read(experts, queries), most, stop, None)


def _generate(
    experts: Experts, prefix: Prefix, most: int, stop: Stop, uniforms: Tensor | None
) -> list[list[int]]:
    base = experts.base
    rows = len(prefix.last)
    output = torch.zeros((rows, most), dtype=torch.long, device=base.device)
    lengths = torch.full((rows,), most, device=base.device)
    alive = torch.arange(rows, device=base.device)  # output row of each row of the batch
    running = torch.ones(rows, dtype=torch.bool, device=base.device)
    cache = DynamicCache()
    held: list[Any] = prefix.cache.layers
    cache.layers = [_GrowingLayer(layer.keys, layer.values, most) for layer in held]
    valid, hidden, positions = prefix.valid, prefix.last, prefix.next_position
    requests = prefix.requests
    for step in range(most):
        tokens = _choose(base.model.lm_head(hidden), None if uniforms is None else uniforms[alive, step])
        output[alive, step] = tokens

        def tail(row: int, count: int, alive: Tensor = alive, step: int = step) -> list[int]:
            return output[alive[row], max(0, step + 1 - count) : step + 1].tolist()

        ended = running & stop.reached(tokens, tail)
        lengths[alive[ended]] = step + 1
        running = running & ~ended
        count = int(running.sum())
        if count == 0 or step == most - 1:
            break
        if count < KEEP * len(running):
            keep = running.nonzero()[:, 0]
            cache.batch_select_indices(keep)
            alive, tokens, positions, requests = alive[keep], tokens[keep], positions[keep], requests[keep]
            valid = None if valid is None else valid[keep]
            running = running[keep]
        mask = None
        if valid is not None:
            valid = torch.cat([valid, valid.new_ones(len(valid), 1)], dim=1)
            mask = valid[:, None, None]
        with experts.serving(requests):
            hidden = base.architecture.decode(
                base.language_model.embed_tokens(tokens[:, None]),
                (positions + step)[None, :, None].expand(base.architecture.axes, -1, -1),
                cache,
                mask=mask,
            )[:, 0]
    return [row[:length] for row, length in zip(output.tolist(), lengths.tolist(), strict=True)]


def _choose(logits: Tensor, uniforms: Tensor | None) -> Tensor:
    if uniforms is None:
        return logits.argmax(-1)
    cumulative = torch.softmax(logits.float(), dim=-1).double().cumsum(-1)
    aim = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, aim, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)


class _GrowingLayer(DynamicLayer):
    """Keys and values in buffers with room for what will be generated: a step writes one column, copies
    nothing.
    """

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._length = keys.shape[-2]
        self._buffers = [
            torch.cat([t, t.new_empty(*t.shape[:-2], room, t.shape[-1])], -2) for t in (keys, values)
        ]
        self._show()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append positions and return all; raises where the buffers are full."""
        start, self._length = self._length, self._length + key_states.shape[-2]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., start : self._length, :] = new
        return self._show()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows of the batch."""
        self._buffers = [buffer[indices] for buffer in self._buffers]
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[..., : self._length, :] for buffer in self._buffers)
        self.keys, self.values = keys, values
        return keys, values

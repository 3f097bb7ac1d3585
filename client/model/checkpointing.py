"""Gradient checkpointing of the decoder's layers, with the cache of keys and values that our answers continue.

A layer keeps its input and the keys and values that it adds; what is between is computed again in the backward pass.
transformers' own checkpointing drops the cache, and a layer computed again must see what it saw at first: the experts
that were active then, the tape's rows of then, the cache as it was before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from client.model.experts import Experts
from client.model.patient_gradients import GradientTape


@contextmanager
def checkpointed(experts: Experts, on: bool = True) -> Iterator[None]:
    """In the block, forward passes with gradients keep little of each layer; values and gradients are the same up to
    rounding. `on` False changes nothing.
    """
    layers = list(experts.base.language_model.layers) if on else []
    for place, layer in enumerate(layers):
        layer.forward = partial(_forward, experts, layer.forward, place)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class' own shows again


def _forward(
    experts: Experts,
    forward: Callable[..., Tensor],
    place: int,
    hidden: Tensor,
    *args: Any,
    past_key_values: DynamicCache | None = None,
    **named: Any,
) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(hidden, *args, past_key_values=past_key_values, **named)
    as_now = _as_now(experts)

    def run(hidden: Tensor, keys: Tensor | None, values: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        added = _Added(keys, values)
        with as_now():
            out = forward(hidden, *args, past_key_values=added, **named)
        return out, added.keys, added.values

    keys, values = _held(past_key_values, place)
    out, new_keys, new_values = checkpoint(
        run, hidden, keys, values, use_reentrant=False, preserve_rng_state=False
    )
    if past_key_values is not None:
        past_key_values.update(new_keys, new_values, place)
    return out


class _Added:
    """One layer's view of the cache: what was there, and what this pass adds to it."""

    def __init__(self, keys: Tensor | None, values: Tensor | None) -> None:
        self._before = keys, values
        self.keys: Any = None
        self.values: Any = None

    def update(self, keys: Tensor, values: Tensor, *args: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """All keys and values after adding these."""
        self.keys, self.values = keys, values
        before_keys, before_values = self._before
        if before_keys is None or before_values is None:
            return keys, values
        return torch.cat([before_keys, keys], dim=-2), torch.cat([before_values, values], dim=-2)


def _held(cache: DynamicCache | None, place: int) -> tuple[Tensor | None, Tensor | None]:
    if cache is None or place >= len(cache.layers):
        return None, None
    layer: Any = cache.layers[place]
    return (layer.keys, layer.values) if layer.is_initialized else (None, None)


def _as_now(experts: Experts) -> Callable[[], AbstractContextManager[None]]:
    """Enter what it returns to see the active experts, each row's gates, and the tape's rows, of now."""
    seen, tape = experts.as_now(), cast("GradientTape | None", experts.layers[0].tape)
    if tape is None:
        return seen
    rows = tape.rows()

    @contextmanager
    def then() -> Iterator[None]:
        later = tape.rows()
        tape.at(rows)
        try:
            with seen():
                yield
        finally:
            tape.at(later)

    return then

"""A linear layer of the language model with a stack of LoRA experts on it, computed as one stack.

    y = W0 x + sum over active experts e of  g_e * s_e * B_e A_e x,   s_e = alpha_e / r_e

g_e is 1, or the gate of the row's request. The active experts' A and B are concatenated, whatever their ranks, so
that however many are active the layer costs three products. Factors are float32 and computed in the type of the
base.

While a `GradientTape` is attached, the backward pass leaves each row's gradient of the trained experts' B
with the tape instead of summing it over the batch; of a B of which the first columns train, theirs alone is computed.

Shapes: N rows, T tokens, R the sum of the active experts' ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from client.model.adapters import AdapterLinear
from client.model.gates import Switch


class Tape(Protocol):
    """What a layer needs to know of the recorder of per-patient gradients."""

    anchor: Tensor

    def rows(self) -> Tensor:
        """Patient index of each row of the batch now in the forward pass, int64 [N]."""

    def records(self, key: str) -> bool:
        """Whether the parameter `key` is being trained."""

    def columns(self, key: str) -> int:
        """How many of its columns are: the first."""

    def add(self, key: str, per_row: Tensor, rows: Tensor) -> None:
        """Add per_row [N, ...], one gradient a row, to the gradients of the patients in rows [N]."""


@dataclass(frozen=True)
class Layout:
    """How the active experts of one layer lie in its stack: each one's columns; each column's scale [R, 1], and the
    place [R] of its expert among all that are active.
    """

    columns: tuple[tuple[str, slice], ...]
    scales: Tensor
    places: Tensor

    def gates(self, rows: Tensor) -> Tensor:
        """Gates [N, experts] as factors of the columns, [N, 1, R]."""
        return rows.to(self.scales.dtype)[:, None, self.places]


@dataclass(frozen=True)
class Stack:
    """The active experts of one layer as one: s A [R, in] and B [out, R], in the base's type."""

    a: Tensor
    b: Tensor
    layout: Layout

    def part(self, columns: Tensor) -> Stack:
        """These columns alone (bool [R]), for a pass that records no gradients: whose they are is not kept."""
        layout = Layout((), self.layout.scales[columns], self.layout.places[columns])
        return Stack(self.a[columns], self.b[:, columns], layout)


class ExpertLinear(AdapterLinear):
    """The layer; `layer_name`, `switch` and `tape` are set by `Experts` and the tape."""

    layer_name: str = ""
    switch: Switch
    tape: Tape | None = None
    # While `Experts.merged` keeps the active experts:
    whole: Tensor | None = None  # W0 + sum of g s B A of those whose gate is the same for all requests
    held: Stack | None = None  # the others

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._layouts: dict[tuple[str, ...], Layout] = {}

    def key(self, expert: str) -> str:
        """The trained parameter's name in plans, deltas and gradients: `expert::layer.lora_B`."""
        return f"{expert}::{self.layer_name}.lora_B"

    def stack(self) -> Stack | None:
        """The active experts that adapt this layer; None where none does."""
        layout = self._layout(self.switch.experts)
        if not layout.columns:
            return None
        dtype = self.computes_in
        a, b = zip(*(self.factors(name) for name, _ in layout.columns), strict=True)
        one = len(a) == 1
        stacked_a = (a[0] if one else torch.cat(a, dim=0)) * layout.scales
        stacked_b = b[0] if one else torch.cat(b, dim=1)
        return Stack(stacked_a.to(dtype), stacked_b.to(dtype), layout)

    def _layout(self, active: tuple[str, ...]) -> Layout:
        if active not in self._layouts:
            columns: list[tuple[str, slice]] = []
            scales: list[float] = []
            places: list[int] = []
            for place, name in enumerate(active):
                if self.holds(name):
                    rank = len(self.factors(name)[0])
                    columns.append((name, slice(len(places), len(places) + rank)))
                    scales += [self.scale(name)] * rank
                    places += [place] * rank
            weight = self.base_layer.weight
            self._layouts[active] = Layout(
                tuple(columns),
                torch.tensor(scales, device=weight.device)[:, None],
                torch.tensor(places, dtype=torch.long, device=weight.device),
            )
        return self._layouts[active]

    @torch.no_grad()
    def hold(self, gates: Tensor, merged: Tensor) -> None:
        """Keep the active experts as they are now: those `merged` (bool [experts]), at their `gates` (float [experts]), as
        one matrix with the base's, W0 itself untouched; the others as factors.
        """
        stack = self.stack()
        if stack is None:
            return
        whole = merged[stack.layout.places]  # [R]
        if bool(whole.any()):
            b = (stack.b * stack.layout.gates(gates[None])[0])[:, whole]
            self.whole = torch.addmm(self.base_layer.weight, b, stack.a[whole])
        if not bool(whole.all()):
            self.held = stack.part(~whole)

    def release(self) -> None:
        """Keep nothing any more."""
        self.held = self.whole = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """y [..., out] of x [..., in] through the base layer and all active experts; x is [N, T, in] where rows
        are gated or recorded.
        """
        base = self.base_layer
        stack = self.held if self.whole is not None else self.held or self.stack()
        if stack is None:
            return base(x) if self.whole is None else functional.linear(x, self.whole, base.bias)
        rows = self.switch.rows
        gates = None if rows is None else stack.layout.gates(rows).to(x.dtype)
        if self.tape is None or not torch.is_grad_enabled():
            u = functional.linear(x, stack.a)
            u = u if gates is None else u * gates
            y = base(x) if self.whole is None else functional.linear(x, self.whole, base.bias)
            return y + functional.linear(u, stack.b)
        recorded = [
            (slice(columns.start, columns.start + self.tape.columns(key)), key)
            for name, columns in stack.layout.columns
            if self.tape.records(key := self.key(name))
        ]
        return _RecordedStack.apply(x, self.tape.anchor, self, stack.a, stack.b, gates, recorded, self.tape)


class RecordedLinear(nn.Linear):
    """A dense layer whose gradients go to the tape, row by row, when one is attached."""

    layer_key: str = ""
    tape: Tape | None = None

    @property
    def key(self) -> str:
        """The weight's name in plans, deltas and gradients."""
        return f"{self.layer_key}.weight"

    def forward(self, x: Tensor) -> Tensor:
        """y [..., out] of x [..., in]; x is [N, T, in] while a tape is attached."""
        if self.tape is None or not torch.is_grad_enabled() or not self.tape.records(self.key):
            return super().forward(x)
        return _RecordedDense.apply(x, self.tape.anchor, self.weight, self.bias, self.layer_key, self.tape)


class _RecordedStack(torch.autograd.Function):
    """x [N, T, in] -> y [N, T, out]; the gradient of each recorded B's trained columns goes to the tape as [N, out, r]."""

    @staticmethod
    def forward(ctx, x, anchor, layer, a, b, gates, recorded, tape):  # type: ignore[no-untyped-def]
        u = functional.linear(x, a)  # [N, T, R]
        u = u if gates is None else u * gates
        y = layer.base_layer(x)
        y.view(-1, y.shape[-1]).addmm_(u.view(-1, u.shape[-1]), b.t())
        ctx.save_for_backward(u, a, b, gates)
        ctx.layer, ctx.recorded, ctx.tape, ctx.rows = layer, recorded, tape, tape.rows()
        return y

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        u, a, b, gates = ctx.saved_tensors
        transposed = grad.transpose(1, 2)  # [N, out, T]
        for columns, key in ctx.recorded:
            ctx.tape.add(key, torch.bmm(transposed, u[..., columns]), ctx.rows)
        dx = None
        if ctx.needs_input_grad[0]:
            du = grad @ b
            du = du if gates is None else du * gates
            weight = ctx.layer.dense()
            flat = grad.reshape(-1, grad.shape[-1]) @ weight
            dx = flat.addmm_(du.reshape(-1, du.shape[-1]), a).view(*grad.shape[:-1], weight.shape[1])
        return dx, *[None] * 7


class _RecordedDense(torch.autograd.Function):
    """x [N, T, in] -> y [N, T, out]; the gradients go to the tape: [N, out, in] of the weight, [N, out] of a bias."""

    @staticmethod
    def forward(ctx, x, anchor, weight, bias, key, tape):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.key, ctx.tape, ctx.rows, ctx.biased = key, tape, tape.rows(), bias is not None
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        ctx.tape.add(f"{ctx.key}.weight", torch.bmm(grad.transpose(1, 2), x), ctx.rows)
        if ctx.biased:
            ctx.tape.add(f"{ctx.key}.bias", grad.sum(dim=1), ctx.rows)
        return (grad @ weight if ctx.needs_input_grad[0] else None), *[None] * 5

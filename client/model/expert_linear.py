"""A linear layer of the language model with a stack of LoRA experts on it, computed as one stack.

    y = W0 x + s * (B_1 A_1 x + ... + B_k A_k x),   s = alpha / r

The active experts' A and B are concatenated, so that however many are active the layer costs three products.
peft owns the parameters (its LoRA layer is the parent class); only `forward` is ours, and equals peft's.

While a `GradientTape` is attached, the backward pass leaves each row's gradient of the trained experts' B
with the tape instead of summing it over the batch.

Shapes: N rows, T tokens, r rank, k active experts.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn import functional


class Tape(Protocol):
    """What a layer needs to know of the recorder of per-patient gradients."""

    anchor: Tensor

    def rows(self) -> Tensor:
        """Patient index of each row of the batch now in the forward pass, int64 [N]."""

    def records(self, key: str) -> bool:
        """Whether the parameter `key` is being trained."""

    def add(self, key: str, per_row: Tensor, rows: Tensor) -> None:
        """Add per_row [N, ...], one gradient a row, to the gradients of the patients in rows [N]."""


class ExpertLinear(LoraLinear):
    """peft's LoRA linear layer with a fused forward; `layer_name` and `tape` are set by `Experts` and the
    tape.
    """

    layer_name: str = ""
    tape: Tape | None = None
    base_layer: nn.Linear
    whole: Tensor | None = None  # W0 + s B A of the active experts, while `Experts.merged` holds it

    def key(self, expert: str) -> str:
        """The trained parameter's name in plans, deltas and gradients: `expert::layer.lora_B`."""
        return f"{expert}::{self.layer_name}.lora_B"

    def factors(self, expert: str) -> tuple[Tensor, Tensor]:
        """The expert's A [r, in] and B [out, r]."""
        return cast("nn.Linear", self.lora_A[expert]).weight, cast("nn.Linear", self.lora_B[expert]).weight

    def _stacked(self, names: list[str]) -> tuple[Tensor, Tensor]:
        """A [k r, in] and B [out, k r] of the experts."""
        a, b = zip(*(self.factors(name) for name in names), strict=True)
        return (a[0], b[0]) if len(names) == 1 else (torch.cat(a, dim=0), torch.cat(b, dim=1))

    @torch.no_grad()
    def merge_active(self) -> None:
        """Hold the active experts and the base as one matrix, W0 itself untouched; see `Experts.merged`."""
        if self.active_adapters and not self.disable_adapters:
            names = list(self.active_adapters)
            a, b = self._stacked(names)
            self.whole = torch.addmm(self.base_layer.weight, b, a, alpha=self.scaling[names[0]])

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """y [..., out] of x [..., in] through the base layer and all active experts."""
        base = self.base_layer
        if self.whole is not None:
            return functional.linear(x, self.whole, base.bias)
        if self.disable_adapters or not self.active_adapters:
            return functional.linear(x, base.weight, base.bias)
        names = list(self.active_adapters)
        scaling = self.scaling[names[0]]
        a, b = self._stacked(names)
        if self.tape is None or not torch.is_grad_enabled():
            y = functional.linear(x, base.weight, base.bias)
            return y + functional.linear(functional.linear(x, a), b) * scaling
        rank = self.r[names[0]]
        recorded = [
            (slice(i * rank, (i + 1) * rank), self.key(name))
            for i, name in enumerate(names)
            if self.tape.records(self.key(name))
        ]
        return _RecordedStack.apply(
            x, self.tape.anchor, base.weight, base.bias, a, b, scaling, recorded, self.tape
        )


class RecordedLinear(nn.Linear):
    """A dense layer whose weight and bias gradients go to the tape, row by row, when one is attached."""

    layer_key: str = ""
    tape: Tape | None = None

    def forward(self, x: Tensor) -> Tensor:
        """y [..., out] of x [..., in]; x is [N, T, in] while a tape is attached."""
        if (
            self.tape is None
            or not torch.is_grad_enabled()
            or not self.tape.records(f"{self.layer_key}.weight")
        ):
            return super().forward(x)
        return _RecordedDense.apply(x, self.tape.anchor, self.weight, self.bias, self.layer_key, self.tape)


class _RecordedStack(torch.autograd.Function):
    """x [N, T, in] -> y [N, T, out]; the gradient of each recorded B goes to the tape as [N, out, r]."""

    @staticmethod
    def forward(ctx, x, anchor, weight, bias, a, b, scaling, recorded, tape):  # type: ignore[no-untyped-def]
        u = functional.linear(x, a)  # [N, T, k r]
        y = functional.linear(x, weight, bias)
        y.view(-1, y.shape[-1]).addmm_(u.view(-1, u.shape[-1]), b.t(), alpha=scaling)
        ctx.save_for_backward(u, weight, a, b)
        ctx.scaling, ctx.recorded, ctx.tape, ctx.rows = scaling, recorded, tape, tape.rows()
        return y

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        u, weight, a, b = ctx.saved_tensors
        transposed = grad.transpose(1, 2)  # [N, out, T]
        for columns, key in ctx.recorded:
            ctx.tape.add(key, torch.bmm(transposed, u[..., columns]) * ctx.scaling, ctx.rows)
        dx = None
        if ctx.needs_input_grad[0]:
            flat = grad.reshape(-1, grad.shape[-1])
            dx = torch.addmm(flat @ weight, flat @ b, a, alpha=ctx.scaling).view(
                *grad.shape[:-1], weight.shape[1]
            )
        return dx, *[None] * 8


class _RecordedDense(torch.autograd.Function):
    """x [N, T, in] -> y [N, T, out]; weight and bias gradients go to the tape as [N, out, in] and [N,
    out].
    """

    @staticmethod
    def forward(ctx, x, anchor, weight, bias, key, tape):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.key, ctx.tape, ctx.rows = key, tape, tape.rows()
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        ctx.tape.add(f"{ctx.key}.weight", torch.bmm(grad.transpose(1, 2), x), ctx.rows)
        ctx.tape.add(f"{ctx.key}.bias", grad.sum(dim=1), ctx.rows)
        return (grad @ weight if ctx.needs_input_grad[0] else None), *[None] * 5

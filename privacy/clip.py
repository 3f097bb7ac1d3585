"""Bound each patient: per-patient gradients -> `Clipped(total, sensitivity)`.

`Clipped` carries its own sensitivity, so noise can't be calibrated from another constant, and only this
module makes one, so that a sum which nobody bounded can't pass for one that is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from privacy.errors import MechanismError

_HERE = object()

# Keeps the float64 product g * (C / ||g||) within C after rounding.
_WITHIN = 1.0 - 1e-9


@dataclass(frozen=True)
class Clipped:
    """A sum over patients of clipped gradients: `total[name]` is float64, shaped as the parameter.

    Adding or removing any one patient moves `total`, all tensors together, by at most `sensitivity` (L2).
    Made by `clip_and_sum`, `add` and `add_across` only.
    """

    total: Mapping[str, Tensor]
    sensitivity: float
    made_by: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.made_by is not _HERE:
            raise MechanismError(
                "a Clipped comes from clip_and_sum, add or add_across only: nothing else bounds a patient"
            )


def clip_and_sum(gradients: Mapping[str, Tensor], clip_norm: float) -> Clipped:
    """Clip each patient's gradient to `clip_norm` over all parameters together, and sum over patients.

    `gradients[name]` is [P, ...], row p being patient p's gradient of the parameter `name`: all that the
    patient contributes to this step, over every sample and rollout.  A row must depend on its patient alone.

    Guarantee: for any rows whatever, ||f(D) - f(D without p)|| <= clip_norm, in float64 arithmetic.

    | a patient's gradient                | contributes                           |
    |-------------------------------------|---------------------------------------|
    | norm <= C                           | itself                                |
    | norm > C                            | itself, scaled to norm C              |
    | zero                                | exactly zero                          |
    | any inf or NaN, or norm over 1e308  | exactly zero, in every parameter      |
    | bf16 / fp16                         | as its float64 value: no overflow     |
    | no patient at all (P = 0)           | a zero total, sensitivity still C     |

    Raises `MechanismError` for a bad `clip_norm`, no parameters, or parameters that disagree about P.
    """
    _check(gradients, clip_norm)
    square = sum(_row_norms(gradient).square() for gradient in gradients.values())  # [P]
    norm = torch.as_tensor(square).sqrt()
    counts = torch.isfinite(norm)
    scale = torch.clamp(clip_norm * _WITHIN / norm, max=1.0)
    scale = torch.where(counts, scale, torch.zeros_like(scale))  # [P]
    total = {name: _weighted_sum(gradient, scale, counts) for name, gradient in gradients.items()}
    return Clipped(total, float(clip_norm), _HERE)


def add(a: Clipped, b: Clipped) -> Clipped:
    """Add the sums of two micro-batches of *different* patients of one draw.

    The caller guarantees that no patient is in both: such a one would count up to twice `sensitivity`.
    Raises `MechanismError` where the clip norms, the parameters or their shapes differ.
    """
    if a.sensitivity != b.sensitivity:
        raise MechanismError(f"micro-batches were clipped to {a.sensitivity} and to {b.sensitivity}")
    shapes = [{name: tensor.shape for name, tensor in part.total.items()} for part in (a, b)]
    if shapes[0] != shapes[1]:
        raise MechanismError(
            "micro-batches hold different parameters: give every one of them, zero where unused"
        )
    return Clipped({name: a.total[name] + b.total[name] for name in a.total}, a.sensitivity, _HERE)


def add_across(clipped: Clipped, sum_over_processes: Callable[[Tensor], Tensor]) -> Clipped:
    """Add the sums of several processes, each of *different* patients of one draw, in every one of them.

    `sum_over_processes` gives the sum of one tensor over all processes, called for the same names in the same order
    in each. The caller guarantees that no patient is in two processes, and that all clipped to the same norm.
    """
    total = {name: sum_over_processes(clipped.total[name]) for name in sorted(clipped.total)}
    return Clipped(total, clipped.sensitivity, _HERE)


def _check(gradients: Mapping[str, Tensor], clip_norm: float) -> None:
    if not (math.isfinite(clip_norm) and clip_norm > 0):
        raise MechanismError(f"clip_norm must be finite and above 0, not {clip_norm}")
    if not gradients:
        raise MechanismError("no gradients: name every trained parameter, with 0 rows for an empty draw")
    flat = [name for name, gradient in gradients.items() if gradient.dim() < 1]
    if flat:
        raise MechanismError(f"{flat[0]}: a gradient needs a first axis over patients")
    rows = {gradient.shape[0] for gradient in gradients.values()}
    if len(rows) > 1:
        raise MechanismError(f"parameters disagree about the number of patients: {sorted(rows)}")


def _row_norms(gradient: Tensor) -> Tensor:
    rows = gradient.reshape(gradient.shape[0], math.prod(gradient.shape[1:]))
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return norms  # [P]


def _weighted_sum(gradient: Tensor, scale: Tensor, counts: Tensor) -> Tensor:
    rows = gradient.reshape(gradient.shape[0], math.prod(gradient.shape[1:])).to(torch.float64)
    rows = torch.where(counts[:, None], rows, torch.zeros_like(rows))  # 0 * inf would be NaN
    return (scale @ rows).reshape(gradient.shape[1:])

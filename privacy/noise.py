"""Hide each patient: `Clipped` -> `Noised`, the Gaussian mechanism."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from privacy.clip import Clipped
from privacy.errors import MechanismError
from privacy.mechanism import Mechanism
from privacy.randomness import RandomSource

_HERE = object()


@dataclass(frozen=True)
class Noised:
    """One step's noised mean gradient: float32, safe to look at, at the price of one step of `mechanism`.

    `noise_std` is the standard deviation of the noise in each coordinate of `mean`; it is public.  `secure`
    tells whether the noise came from a source that nobody can repeat.
    Made by `add_noise` only.
    """

    mean: Mapping[str, Tensor]
    noise_std: float
    mechanism: Mechanism
    secure: bool
    made_by: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.made_by is not _HERE:
            raise MechanismError("a Noised comes from add_noise only: nothing else hides a patient")


def add_noise(
    clipped: Clipped, mechanism: Mechanism, expected_patients: float, random: RandomSource
) -> Noised:
    """Add Gaussian noise of std `noise_multiplier * sensitivity` to every coordinate; divide publicly.

    `expected_patients` is the policy's public constant (sampling rate x nominal patients), never a realised
    count: dividing by how many were drawn would tell how many there are.

    Guarantee: every coordinate of every parameter gets its own deviate, in float64, before anything is rounded
    or divided; so one step is exactly one step of the mechanism's event (Dwork and Roth 2014, theorem A.1; the
    subsampled one as Abadi et al., arXiv 1607.00133).

    | the clipped sum                     | the result                                             |
    |-------------------------------------|--------------------------------------------------------|
    | of an empty draw, or all zero       | noise alone, of the same standard deviation            |
    | of one patient                      | noised as any other; divided by the same constant      |
    | a parameter of no elements          | an empty tensor; a scalar parameter gets one deviate   |
    | of bf16 or fp16 gradients           | float64 until the noise is in, then float32            |
    | noise multiplier 0                  | the bare mean, noise_std 0: its epsilon is infinite    |
    | a mean beyond float32's range       | infinite there (rounding after the noise costs nothing)|

    Raises `MechanismError` where `clipped` was bounded by another clip norm than the mechanism's, or where
    `expected_patients` is not finite and above 0.
    """
    if clipped.sensitivity != mechanism.clip_norm:
        raise MechanismError(
            f"the sum was clipped to {clipped.sensitivity}, but the mechanism says {mechanism.clip_norm}"
        )
    if not (math.isfinite(expected_patients) and expected_patients > 0):
        raise MechanismError(f"expected_patients must be finite and above 0, not {expected_patients}")
    std = mechanism.noise_multiplier * clipped.sensitivity
    mean = {}
    for name in sorted(clipped.total):
        total = clipped.total[name]
        noise = torch.from_numpy(random.gaussian(total.numel())).reshape(total.shape).to(total.device)
        mean[name] = ((total + std * noise) / expected_patients).to(torch.float32)
    return Noised(mean, std / expected_patients, mechanism, random.secure, _HERE)

"""What DP noise makes of a release: how noisy an honest delta is, and what a hospital may say of its noise.

All of it follows from the plan, which is public. A hospital's step adds noise of standard deviation
`t = sigma * C / (q * N)` to a mean gradient `s`, N being its nominal patients; then Adam divides by the root of the
mean square. So where the noise drowns the signal (`|s| << t`, the rule in DP training) the delta's noise has the same
size at every hospital, whatever t is, and its signal goes with `s / t`; where the signal stands out (`|s| >> t`) the
signals are alike and the noise goes with t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from privacy.plan import Plan
from privacy.randomness import SeededRandom
from strategies.errors import AggregationError
from strategies.gathered import Values

_BETA1, _BETA2 = 0.9, 0.999  # privacy.descent's Adam
_DRAWN, _MOST_STEPS = (
    40_000,
    500,
)  # coordinates and steps that are simulated; beyond them variance grows by 1 a step
_DIGITS = 3  # so that no machine's last bits show in what is aggregated
_WHOLE = 1e-6  # how far sigma * C / (q * stated) may be from a whole number of patients, relative
_MOST_PATIENTS = 10**12  # privacy.policy's
_DEVIATIONS = 6.0
_FLOOR = 0.75  # of the norm of noise alone
_LEAST_BELOW = (
    1e-3  # of the steady norm's square: a delta as long as that has a gradient some thirty times its noise
)


@dataclass(frozen=True)
class DeltaNoise:
    """Of one coordinate of a delta that is noise alone: its variance, and its kurtosis (fourth moment over squared second)."""

    variance: float
    kurtosis: float


def delta_noise(plan: Plan) -> DeltaNoise:
    """The noise in an honest delta after the plan's Adam steps, where the noise drowns the signal.

    It hangs on the learning rate and the number of steps, and on nothing else: see the module. Correct to about 1 %.
    """
    unit = _unit_noise(plan.mechanism.steps)
    return DeltaNoise(plan.learning_rate**2 * unit.variance, unit.kurtosis)


def least_norm(plan: Plan, size: int) -> float:
    """The least L2 norm that an honest delta of `size` coordinates shows: three quarters of noise alone, less
    six standard deviations.

    A steady signal only lengthens a delta. What shortens it by more than a quarter is a gradient as large as its noise,
    in most coordinates, that turns round at every step. Below this lies who adds no noise, sends nothing, or sends
    again the mean of three hospitals (of two, from some 20,000 values on), where noise is most of it.
    """
    noise = delta_noise(plan)
    spread = math.sqrt(max(noise.kurtosis - 1.0, 0.0) / max(size, 1))  # of the mean square, relative
    return math.sqrt(noise.variance * size * max(_FLOOR**2 - _DEVIATIONS * spread, 0.0))


@dataclass(frozen=True)
class Lengths:
    """L2 norms of honest deltas, of one a release: of `noise` alone, and of the same way gone at every step (`steady`)."""

    noise: Values
    steady: Values


def lengths(plan: Plan, sizes: Sequence[int]) -> Lengths:
    """Of deltas of so many coordinates each. A steady gradient moves each by the learning rate a step, whatever its size."""
    roots = np.sqrt(np.array(sizes, np.float64))
    noise, steady = math.sqrt(delta_noise(plan).variance), plan.learning_rate * plan.mechanism.steps
    return Lengths(noise * roots, steady * roots)


def gradient_power(squared_norms: Values, variances: Values, of: Lengths) -> float:
    """The mean square of a coordinate of the hospitals' gradients, in the unit of the stated noise variances: the median of
    what each delta's length tells of it, rounded so that no machine's last bits show in what is aggregated.

    With t^2 the stated variance, s^2 the gradient's and n the delta's norm, n^2 = (t^2 noise^2 + s^2 steady^2) / (t^2 + s^2),
    as Adam divides by the root of t^2 + s^2. One step tells nothing, being of one length always: infinite then, for who
    weighs must not lean on it. A lower bound where gradients turn from step to step.
    """
    if np.all(of.steady <= of.noise):
        return math.inf
    above = np.maximum(squared_norms - of.noise**2, 0.0)
    below = np.maximum(of.steady**2 - squared_norms, _LEAST_BELOW * of.steady**2)
    return _rounded(float(np.median(above / below * variances)))


def check_stated(noise_variance: float, plan: Plan, patients: int | None) -> None:
    """Raise `AggregationError` unless the plan's mechanism gives this noise variance at a hospital of `patients` nominal
    patients; of some whole number of them, where the campaign does not say how many (None).
    """
    mechanism = plan.mechanism
    scale = mechanism.noise_multiplier * mechanism.clip_norm / mechanism.sampling_rate
    implied = scale / math.sqrt(noise_variance) if noise_variance > 0 else math.inf
    if not 0.5 < implied <= _MOST_PATIENTS * (1 + _WHOLE):
        raise AggregationError(f"no hospital has noise of variance {noise_variance:g} under this plan")
    wanted = round(implied) if patients is None else patients
    if abs(implied - wanted) > _WHOLE * wanted:
        whose = "a whole number of patients" if patients is None else f"the {patients} patients agreed upon"
        raise AggregationError(
            f"noise of variance {noise_variance:g} is that of {implied:.6g}, not of {whose}"
        )


@lru_cache(maxsize=64)
def _unit_noise(steps: int) -> DeltaNoise:
    """For a learning rate of 1: simulated, from a public seed, and rounded."""
    done = min(steps, _MOST_STEPS)
    random = SeededRandom(f"delta noise/{done}")
    moved, first, second = np.zeros(_DRAWN), np.zeros(_DRAWN), np.zeros(_DRAWN)
    for step in range(1, done + 1):
        noise = random.gaussian(_DRAWN)
        first += (1 - _BETA1) * (noise - first)
        second += (1 - _BETA2) * (noise * noise - second)
        moved += first / (1 - _BETA1**step) / np.sqrt(second / (1 - _BETA2**step))
    variance = float(np.mean(moved**2))
    kurtosis = float(np.mean(moved**4)) / variance**2
    return DeltaNoise(_rounded(variance + steps - done), _rounded(kurtosis))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")

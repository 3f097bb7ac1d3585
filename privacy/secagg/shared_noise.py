"""Each hospital's share of the noise: whole sums -> `Share`, of which only the sum over hospitals is private enough.

Each of the hospitals adds a discrete Gaussian of the parameter `sigma` to every coordinate. The sum of `honest` of
them, those that answer and tell nobody their noise, has the standard deviation sqrt(honest) x sigma: that is what the
accounting counts on (`privacy.secagg.accounting`). What further hospitals add is post-processing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MechanismError
from privacy.randomness import RandomSource
from privacy.secagg.discrete_gaussian import MOST_SIGMA, discrete_gaussian
from privacy.secagg.grid import Grid, Whole, to_whole

LEAST_SIGMA = 16  # of a plan's shares: from here on their sum is a discrete Gaussian to 1e-1000 (`log_ratio`)

_HERE = object()


@dataclass(frozen=True)
class SharedNoise:
    """The public noise of a round: every share's `sigma`, in steps of `grid`, and how many shares must suffice.

    Raises `MechanismError` for a sigma that is no whole number from 1 to 2^20, or fewer than one honest share.
    """

    grid: Grid
    sigma: int
    honest: int

    def __post_init__(self) -> None:
        if type(self.sigma) is not int or not 1 <= self.sigma <= MOST_SIGMA:
            raise MechanismError(f"a share's sigma must be a whole number from 1 to 2^20, not {self.sigma!r}")
        if type(self.honest) is not int or self.honest < 1:
            raise MechanismError(f"at least one honest share must be counted on, not {self.honest!r}")

    @property
    def multiplier(self) -> float:
        """The honest shares' noise, relative to what one patient moves the rounded vector by."""
        return math.sqrt(self.honest) * self.sigma / self.grid.sensitivity

    def std(self, hospitals: int) -> float:
        """The standard deviation of the noise in each coordinate of the real sum over `hospitals`."""
        return math.sqrt(hospitals) * self.sigma * self.grid.step


def shared_noise(noise_multiplier: float, grid: Grid, honest: int) -> SharedNoise:
    """The least shares of which `honest` amount to `noise_multiplier` times the sensitivity.

    sigma^2 >= (noise_multiplier x sensitivity)^2 / honest. Raises `MechanismError` where that is beyond 2^20 steps.
    """
    if not (math.isfinite(noise_multiplier) and noise_multiplier > 0):
        raise MechanismError(f"noise_multiplier must be finite and above 0, not {noise_multiplier}")
    if type(honest) is not int or honest < 1:
        raise MechanismError(f"at least one honest share must be counted on, not {honest!r}")
    sigma = math.ceil(noise_multiplier * grid.sensitivity / math.sqrt(honest))
    if sigma > MOST_SIGMA:
        raise MechanismError(
            f"shares of {sigma} steps are beyond 2^20: take a coarser step than {grid.step:g}"
        )
    return SharedNoise(grid, sigma, honest)


@dataclass(frozen=True)
class Share:
    """A hospital's rounded sum with its share of the noise, [d]. It protects nobody alone: mask it, send it once.

    `secure` tells whether the noise came from a source that nobody can repeat. Made by `add_share` only.
    """

    whole: Whole
    noise: SharedNoise
    secure: bool
    made_by: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.made_by is not _HERE:
            raise MechanismError("a Share comes from add_share only: nothing else adds its part of the noise")


def add_share(total: NDArray[np.float64], noise: SharedNoise, random: RandomSource) -> Share:
    """Round a sum of clipped gradients, [d], and add this hospital's share of the noise to every coordinate.

    The caller guarantees that adding or removing one patient moves `total` by at most `noise.grid.clip_norm` (L2).
    An empty draw gives noise alone. Raises `MechanismError` as `to_whole` does.
    """
    whole = to_whole(total, noise.grid)
    whole += discrete_gaussian(whole.size, noise.sigma, random)
    return Share(whole, noise, random.secure, _HERE)

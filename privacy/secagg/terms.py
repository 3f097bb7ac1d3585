"""What a plan says of distributed trust: the grid, and whose shares of the noise count. Sigma follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy.errors import MechanismError
from privacy.forms import count, odd
from privacy.mechanism import SHARED, Event, Mechanism
from privacy.secagg.grid import Grid
from privacy.secagg.shared_noise import LEAST_SIGMA, SharedNoise, shared_noise

FEWEST, MOST = 3, 100  # hospitals of a round


@dataclass(frozen=True)
class Distributed:
    """A round's sum is noisy enough, and no hospital's part of it.

    `grid_step` is the grid's, a power of two; `most_patients` as in `Grid`; `honest` is how many hospitals' shares
    amount to the mechanism's noise multiplier, and `colluding` how many further ones may side with the server, and so
    know theirs. Raises `MechanismError` for a number out of range.
    """

    grid_step: float
    most_patients: int
    honest: int
    colluding: int

    def __post_init__(self) -> None:
        Grid(self.grid_step, 1.0, 1, self.most_patients)
        for name, least in (("honest", 1), ("colluding", 1)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= MOST:
                raise MechanismError(f"{name} must be a whole number from {least} to {MOST}, not {value!r}")

    def check(self, mechanism: Mechanism) -> None:
        """Raise `MechanismError` unless a round of one step under `mechanism` costs what `event` says, whatever is trained.

        That takes shares of `LEAST_SIGMA` steps or more: a coarser grid would add to the cost with each coordinate.
        """
        if mechanism.steps != 1:
            raise MechanismError(f"under distributed trust a round is 1 step, not {mechanism.steps}")
        grid = Grid(self.grid_step, mechanism.clip_norm, 1, self.most_patients)
        coarsest = mechanism.noise_multiplier * mechanism.clip_norm / (LEAST_SIGMA * self.honest**0.5)
        if grid.step > coarsest:
            raise MechanismError(
                f"grid_step {grid.step:g} is too coarse: at most {coarsest:.3g} for this noise"
            )

    def event(self, mechanism: Mechanism) -> Event:
        """What a hospital spends by taking part."""
        return Event(mechanism.noise_multiplier, mechanism.sampling_rate, mechanism.steps, SHARED)

    def noise(self, mechanism: Mechanism, size: int) -> SharedNoise:
        """The grid of a vector of `size` numbers, and each hospital's share. Raises `MechanismError` as they do."""
        grid = Grid(self.grid_step, mechanism.clip_norm, size, self.most_patients)
        return shared_noise(mechanism.noise_multiplier, grid, self.honest)

    def threshold(self, hospitals: int) -> int | None:
        """How many of `hospitals` must stay to the end; None where they are too few for these terms."""
        least = max(least_threshold(hospitals, self.colluding), self.honest + self.colluding)
        return least if FEWEST <= hospitals <= MOST and least <= hospitals else None

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Distributed:
        """Read `to_dict`'s form. Raises `MechanismError` for a missing, unknown or wrong field."""
        if not isinstance(fields, Mapping) or odd(fields, _FORM):
            raise MechanismError(f"distributed: {', '.join(_FORM)} are needed, each a number, not {fields!r}")
        return cls(**fields)


def least_threshold(hospitals: int, colluding: int) -> int:
    """The least threshold that a session of `hospitals` admits with `colluding` of them on the server's side."""
    return max(2 * hospitals // 3, (hospitals + colluding) // 2) + 1


_FORM = {
    "grid_step": lambda value: type(value) is float,
    "most_patients": count,
    "honest": count,
    "colluding": count,
}

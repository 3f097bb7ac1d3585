"""`Clipped` -> `Share`: a hospital's part of a round under distributed trust. Apart from the rest as it needs torch."""

from __future__ import annotations

from privacy.clip import Clipped
from privacy.descent import SEPARATOR
from privacy.errors import MechanismError
from privacy.randomness import RandomSource
from privacy.secagg.layout import Layout
from privacy.secagg.shared_noise import Share, SharedNoise, add_share


def share_of(clipped: Clipped, layout: Layout, noise: SharedNoise, random: RandomSource) -> Share:
    """The clipped sum as a vector, rounded to the grid, with this hospital's share of the noise in every coordinate.

    An expert that this hospital doesn't train has zeros before the noise, which its patients can't move. Raises
    `MechanismError` where the sum was clipped to another norm than the grid's, or does not fit the layout.
    """
    if clipped.sensitivity != noise.grid.clip_norm:
        raise MechanismError(
            f"the sum was clipped to {clipped.sensitivity}, but the grid says {noise.grid.clip_norm}"
        )
    values = {}
    for name, total in clipped.total.items():
        expert, _, tensor = name.partition(SEPARATOR)
        values[expert, tensor] = total.detach().cpu().numpy()
    return add_share(layout.flat(values), noise, random)

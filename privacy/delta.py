"""`ExpertDelta`: what a round made of one expert.  Free of torch, so that sealing and checking are too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MechanismError
from privacy.mechanism import Mechanism

# Held by `privacy.descent` alone: see ExpertDelta.
FROM_DESCENT = object()


@dataclass(frozen=True)
class ExpertDelta:
    """An expert's new weights less its old ones, float32.

    It is a function of public values and of `steps` noised steps of `mechanism`, and of nothing else.
    `noise_std` is that of one step's mean gradient (public); `secure` tells whether all the noise came from
    sources that nobody can repeat.  Made by `PrivateDescent` only.
    """

    expert: str
    tensors: Mapping[str, NDArray[np.float32]]
    noise_std: float
    mechanism: Mechanism
    steps: int
    secure: bool
    made_by: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.made_by is not FROM_DESCENT:
            raise MechanismError(
                "an ExpertDelta comes from PrivateDescent only: no other weights may be sealed"
            )

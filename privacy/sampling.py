"""Poisson sampling of patients, and the draw of a patient's samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privacy.errors import MechanismError
from privacy.randomness import RandomSource


def draw_patients(patients: Sequence[str], rate: float, random: RandomSource) -> list[str]:
    """Draw each patient with probability `rate`, independently; the result may be empty, and keeps the order.

    Never truncate or pad the result to fit a batch: the accounting holds for Poisson draws only (a cap of 20
    on an expected 20 takes epsilon from 16 to 68).

    | patients, rate     | drawn                                                              |
    |--------------------|--------------------------------------------------------------------|
    | none at all        | nobody; the step is taken and noised all the same                  |
    | one                | that one, or nobody                                                |
    | rate 1             | everybody, always                                                  |
    | rate 0, NaN, > 1   | `MechanismError`                                                   |

    Raises `MechanismError` for a patient listed twice, who
    would otherwise count as two.
    """
    if not 0 < rate <= 1:
        raise MechanismError(f"the sampling rate must be above 0 and at most 1, not {rate}")
    if len(set(patients)) != len(patients):
        raise MechanismError("a patient is listed twice: list each patient once, with all that is theirs")
    drawn = random.uniform(len(patients)) < rate
    return [patient for patient, chosen in zip(patients, drawn, strict=True) if chosen]


def draw_samples(count: int, at_most: int, random: RandomSource) -> list[int]:
    """Choose `at_most` of a patient's `count` samples without replacement (all, where there are no more).

    Returns sorted indices; none of 0 samples.  The choice concerns one patient alone and the clip bounds that patient whatever
    was chosen, so it costs no privacy.
    """
    if count < 0 or at_most < 1:
        raise MechanismError(f"can't draw {at_most} of {count} samples")
    order = np.argsort(random.uniform(count), kind="stable")
    return sorted(int(index) for index in order[:at_most])

"""How good is the model on a hospital's own patients: counts through the Gaussian mechanism, for an event.

Each patient contributes one bounded vector, whatever the number of their samples: for each kind of question
(scale and task) the share of their score that was right, and the share that was wrong.  The sum over patients
gets noise; what leaves is that sum, rounded to whole numbers.  Everything after it is post-processing:
`privacy.estimates`, and the sealing in `privacy.sealed_counts`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from privacy.clip import clip_and_sum
from privacy.errors import MechanismError
from privacy.evaluation import Kind
from privacy.mechanism import Event, Mechanism
from privacy.noise import add_noise
from privacy.randomness import RandomSource

_HERE = object()

Scores = Mapping[Kind, Sequence[float]]  # of one patient


@dataclass(frozen=True)
class NoisedCounts:
    """Whole numbers for each kind, in the order of `kinds`: patients' worth of right and of wrong answers.

    A count may be negative: so the noise is unbiased.  `noise_std` is that of each count.  `secure` tells
    whether the noise came from a source that nobody can repeat.  Made by `noised_counts` only.
    """

    kinds: tuple[Kind, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    noise_std: float
    event: Event
    secure: bool
    made_by: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.made_by is not _HERE:
            raise MechanismError("NoisedCounts come from noised_counts only: nothing else hides a patient")


def noised_counts(
    kinds: Sequence[Kind], patients: Sequence[Scores], noise_multiplier: float, random: RandomSource
) -> NoisedCounts:
    """Sum the patients' vectors, add noise, round.  `kinds` are what was asked for: public, sorted, unique.

    A patient with the mean score m in [0, 1] in a kind adds (m, 1 - m) to its (right, wrong); the vector over
    all K kinds has norm sqrt(K) at most, which is the sensitivity (add or remove one patient).  Counting right
    and wrong rather than a sum and a number of patients halves the ratio's variance or better.

    | a patient                                  | adds                                                   |
    |--------------------------------------------|--------------------------------------------------------|
    | without samples, or of other kinds only    | exactly zero                                           |
    | with one sample or a thousand of a kind    | at most one in all                                     |
    | with a score outside [0, 1]                | as if it were 0 or 1                                   |
    | with a score that is NaN                   | as if it were 0: no answer                             |
    | none at all (an empty cohort)              | noise alone leaves, of the same standard deviation     |

    Raises `MechanismError` for kinds that are none, unsorted or doubled, or for a noise multiplier that is not
    above 0: bare counts never leave.
    """
    if not kinds or list(kinds) != sorted(set(kinds)):
        raise MechanismError(f"kinds must be one or more, sorted and unique, not {list(kinds)}")
    if not noise_multiplier > 0:
        raise MechanismError(f"noise_multiplier must be above 0, not {noise_multiplier}")
    mechanism = Mechanism(
        clip_norm=math.sqrt(len(kinds)),
        noise_multiplier=noise_multiplier,
        sampling_rate=1.0,
        steps=1,
        samples_per_patient=1,  # one vector, made of however many answers
    )
    rows = np.array([_vector(kinds, scores) for scores in patients]).reshape(len(patients), 2 * len(kinds))
    summed = clip_and_sum({"counts": torch.from_numpy(rows)}, mechanism.clip_norm)
    noised = add_noise(summed, mechanism, expected_patients=1.0, random=random)
    counts = [int(count) for count in noised.mean["counts"].round().tolist()]
    return NoisedCounts(
        kinds=tuple(kinds),
        right=tuple(counts[0::2]),
        wrong=tuple(counts[1::2]),
        noise_std=noised.noise_std,
        event=mechanism.event(),
        secure=noised.secure,
        made_by=_HERE,
    )


def _vector(kinds: Sequence[Kind], scores: Scores) -> list[float]:
    vector = []
    for kind in kinds:
        held = [min(max(score, 0.0), 1.0) if score == score else 0.0 for score in scores.get(kind, ())]
        mean = sum(held) / len(held) if held else 0.0
        vector += [mean, 1.0 - mean] if held else [0.0, 0.0]
    return vector

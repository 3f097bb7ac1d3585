"""What a hostile hospital may send instead of its honest change of an expert.

| attack          | what it sends                                                                                         |
|-----------------|-------------------------------------------------------------------------------------------------------|
| sign flip       | its honest change, turned round                                                                       |
| scaling         | the same, as long as the bound on norms lets through                                                  |
| small shift     | what all honest ones average to, moved by one of their standard deviations against it, value by value: |
|                 | the colluders know every honest change and send the same (after Baruch et al., NeurIPS 2019)          |
| label flip      | an honest change, trained on wrong answers                                                            |
| free rider      | noise alone, of the length that honest noise has                                                      |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from client.tasks.sample import FRAME, Box, Boxes, Polygon, Polygons, Sample, Words
from demo.experiment import Change
from privacy.plan import Plan
from privacy.randomness import SeededRandom
from strategies.bounds import norm_bound
from strategies.noise import delta_noise

SIGN_FLIP, SCALING, SMALL_SHIFT, LABEL_FLIP, FREE_RIDER = (
    "sign flip",
    "scaling",
    "small shift",
    "label flip",
    "free rider",
)
ATTACKS = (SIGN_FLIP, SCALING, SMALL_SHIFT, LABEL_FLIP, FREE_RIDER)
_SHORT_OF_THE_BOUND = 0.999


def hostile(attack: str, own: Change, flipped: Change, honest: Sequence[Change], plan: Plan) -> Change:
    """What a hospital sends under the attack: `own` is its honest change, `flipped` the one that wrong answers taught
    it, `honest` are those of all who do not take part in the attack.
    """
    if attack == LABEL_FLIP:
        return flipped
    if attack == SIGN_FLIP:
        return _times(own, -1.0)
    if attack == SCALING:
        return _times(own, -_SHORT_OF_THE_BOUND * norm_bound(plan, own.shapes) / own.norm)
    if attack == SMALL_SHIFT:
        return replace(own, tensors={name: _shifted(name, honest) for name in own.tensors})
    if attack == FREE_RIDER:
        random = SeededRandom(f"free rider/{own.hospital}/{own.expert}")
        deviation = math.sqrt(delta_noise(plan).variance)
        noise = {
            name: (deviation * random.gaussian(value.size)).astype(np.float32).reshape(value.shape)
            for name, value in sorted(own.tensors.items())
        }
        return replace(own, tensors=noise)
    raise ValueError(f"attack {attack!r}: one of {', '.join(ATTACKS)}")


def mislabelled(sample: Sample) -> Sample:
    """The sample with a wrong answer: the next of the choices, or what is boxed or outlined at the opposite corner.

    Raises `ValueError` for a question in words without choices, of which the demo has none.
    """
    answer = sample.answer
    if isinstance(answer, Boxes):
        return replace(sample, answer=Boxes(tuple(_opposite(box) for box in answer.boxes)))
    if isinstance(answer, Polygons):
        return replace(sample, answer=Polygons(tuple(_turned(outline) for outline in answer.polygons)))
    if not (isinstance(answer, Words) and answer.text in sample.choices):
        raise ValueError(f"no wrong answer to {sample.question!r} without choices")
    place = sample.choices.index(answer.text)
    return replace(sample, answer=replace(answer, text=sample.choices[(place + 1) % len(sample.choices)]))


def _opposite(box: Box) -> Box:
    return Box(FRAME - box.x2, FRAME - box.y2, FRAME - box.x1, FRAME - box.y1)


def _turned(outline: Polygon | Box) -> Polygon | Box:
    if isinstance(outline, Box):
        return _opposite(outline)
    return Polygon(tuple((FRAME - x, FRAME - y) for x, y in outline.points))


def _times(change: Change, factor: float) -> Change:
    return replace(
        change,
        tensors={name: (factor * value).astype(np.float32) for name, value in change.tensors.items()},
    )


def _shifted(name: str, honest: Sequence[Change]) -> NDArray[np.float32]:
    values = np.stack([change.tensors[name] for change in honest]).astype(np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
    return np.asarray(mean - np.sign(mean) * deviation, np.float32)

"""A hospital opened for evaluation: its base, its experts as they were received (or from a folder), its questions.

Nothing here reserves, trains, signs or sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from client.data import open_data
from client.errors import ClientError
from client.expert_states import ExpertStates
from client.home import Home
from client.model.base import Base
from client.model.experts import Experts
from client.slides.slide import Slide
from client.tasks.sample import Sample
from client.withdrawn import read_withdrawn, staying
from privacy.errors import PlanRefused, WireError
from privacy.evaluation import Evaluation
from privacy.expert_folder import read_experts


class EvaluationError(ClientError):
    """What can't be evaluated or asked, and what to do."""


@dataclass(frozen=True)
class Model:
    """The experts on the base, and which they are."""

    experts: Experts
    which: Evaluation


@dataclass(frozen=True)
class Questions:
    """All that is asked here: samples of those who did not withdraw, their slides, and what was left out."""

    samples: tuple[Sample, ...]
    slides: Mapping[str, Slide]
    skipped: Mapping[str, str]  # slide -> reason
    prints: Mapping[str, str]  # slide -> fingerprint


def open_model(home: Home, folder: Path | None) -> Model:
    """The base of the home with the experts of `folder`; None: those that the home received last.

    Raises `EvaluationError` where there are none, or they are another base's or damaged.
    """
    place = folder or home.experts
    if folder is None and not place.is_dir():
        raise EvaluationError(
            f"{home.folder}: no experts were received yet: they come with the first round, or name a folder of "
            "experts with --experts"
        )
    try:
        which, states = read_experts(place)
    except WireError as error:
        raise EvaluationError(str(error)) from None
    base = Base.load(home.settings.base, "cuda" if torch.cuda.is_available() else "cpu")
    if which.base_hash != base.hash:
        raise EvaluationError(
            f"{place}: these experts belong to the base {which.base_hash[:12]}, and {home.settings.base} is "
            f"{base.hash[:12]}: give experts of this base"
        )
    try:
        experts = ExpertStates(base).load(which, {f"expert/{name}": data for name, data in states.items()})
    except PlanRefused as error:
        raise EvaluationError(f"{place}: {error}") from error
    return Model(experts, which)


def open_questions(home: Home, image_token: str | None = None) -> Questions:
    """What the manifest asks, for a base of this token if one is asked, without patients who withdrew. Raises
    `EvaluationError` where nothing is left.
    """
    data = open_data(home, image_token=image_token)
    samples = staying(data.manifest.samples, read_withdrawn(home.withdrawn))
    if not samples:
        raise EvaluationError(
            f"{home.settings.manifest}: no question is left to ask: are its slides readable?"
        )
    index = data.index
    skipped = {name: error.reason for name, error in index.skipped.items()}
    return Questions(samples, index.slides, skipped, index.prints)

"""A canary audit of a hospital's own training: its patients, base and policy, in memory only."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from client.canary import (
    Canaries,
    CanaryError,
    GradientCanaries,
    Kind,
    PatientCanaries,
    Report,
    audit,
    linear,
    trained_experts,
)
from client.data import open_data
from client.home import Home
from client.model.base import Base
from client.model.experts import Experts, attach
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.tasks.sample import Sample
from client.withdrawn import read_withdrawn, staying
from privacy.experts import EXPERTS, same_form
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.randomness import RandomSource, SecureRandom

CLIP_NORM = 1.0
STEP = 5e-3  # how far a step moves a weight: Adam's learning rate, or what one clip norm's pull does
RANK, ALPHA, SEED = 4, 8.0, 0


@dataclass(frozen=True)
class Training:
    """The training to copy; the guarantee, and so what a canary may show, depends on nothing else of a plan."""

    kind: Kind
    canaries: int
    rounds: int
    steps: int
    noise_multiplier: float
    sampling_rate: float


def run(home: Home, training: Training, tell: Callable[[int, int], None]) -> Report:
    """Audit one SFT training on the home's patients, those who withdrew left out.

    Writes nothing but slide features in a folder that is removed. Raises `ClientError`, `ModelError`,
    `PrivacyError`.
    """
    settings, policy = home.settings, home.policy
    random = SecureRandom()
    mechanism = Mechanism(
        CLIP_NORM,
        training.noise_multiplier,
        training.sampling_rate,
        training.steps,
        policy.maximum_samples_per_patient,
    )
    base = Base.load(settings.base, "cuda" if torch.cuda.is_available() else "cpu")
    data = open_data(home, image_token=base.architecture.image_token)
    samples = staying(data.manifest.samples, read_withdrawn(home.withdrawn))
    if not samples:
        raise CanaryError(f"{settings.manifest}: no patient is left to train on: give a home with data")
    experts = attach(base, same_form(EXPERTS, RANK, ALPHA), SEED)
    trained = trained_experts(samples)
    learning_rate, nominal_patients = STEP, policy.nominal_patients
    if training.kind == "gradient":
        learning_rate, nominal_patients = linear(mechanism, STEP)
    with tempfile.TemporaryDirectory(prefix="fedpath-canary-") as folder:
        inputs = InputLoader(data.index.slides, SlideFeatures(base, Path(folder)))
        return audit(
            experts,
            samples,
            inputs,
            _plan(base.hash, mechanism, trained, learning_rate),
            training.rounds,
            nominal_patients,
            _canaries(training, experts, trained, samples, inputs, random),
            training.kind,
            policy.delta,
            random,
            tell,
        )


def _canaries(
    training: Training,
    experts: Experts,
    trained: Sequence[str],
    samples: Sequence[Sample],
    inputs: InputLoader,
    random: RandomSource,
) -> Canaries:
    if training.kind == "gradient":
        return GradientCanaries(experts, trained, samples[0], training.canaries, random)
    return PatientCanaries(experts, samples, inputs, training.canaries, random)


def _plan(base_hash: str, mechanism: Mechanism, trained: Sequence[str], learning_rate: float) -> Plan:
    return Plan(
        campaign="canary",
        round=1,
        stage="sft",
        experts=tuple(sorted(trained)),
        mechanism=mechanism,
        learning_rate=learning_rate,
        base_hash=base_hash,
        experts_hash=dict.fromkeys(EXPERTS, "0" * 64),
        forms=same_form(EXPERTS, RANK, ALPHA),
        expert_seed=SEED,
    )

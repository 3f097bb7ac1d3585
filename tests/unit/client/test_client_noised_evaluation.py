"""Noised evaluation on a real model: what it asks, whom it counts, and that a patient is one vector."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from client.evaluation.answers import Asking, answer
from client.model.base import Base
from client.noised_evaluation import noised_evaluation, patient_scores
from privacy.evaluation import charge
from privacy.noised_counts import NoisedCounts
from privacy.randomness import SecureRandom
from tests.model_cases import Inputs, fresh, samples_of

SAMPLES = [sample for patient in "abc" for sample in samples_of(patient)]
KINDS = sorted({(sample.scale, sample.task) for sample in SAMPLES})


def test_it_counts_every_patient_once_in_each_kind(tiny_base: Path) -> None:
    """Catches slides or samples counted for patients, and a kind that is left out: with next to no noise, right
    and wrong of each kind add up to the three patients, whatever the answers.
    """
    base = Base.load(tiny_base)
    asked: list[tuple[int, int]] = []
    counts = noised_evaluation(
        fresh(base),
        SAMPLES,
        Inputs(base),
        [*KINDS, ("wsi", "zzz")],
        Asking("direct", 4),
        1e-6,
        SecureRandom(),
        progress=lambda done, of: asked.append((done, of)),
    )
    assert isinstance(counts, NoisedCounts)
    assert counts.event == charge(1e-6)
    pairs = list(zip(counts.right, counts.wrong, strict=True))[:-1]
    assert all(abs(right + wrong - 3) <= 1 for right, wrong in pairs)
    assert (counts.right[-1], counts.wrong[-1]) == (0, 0)
    assert asked[-1] == (len(SAMPLES), len(SAMPLES))


def test_only_the_kinds_asked_for_are_answered(tiny_base: Path) -> None:
    """Catches time spent, and progress shown, on samples that nobody asked for."""
    base = Base.load(tiny_base)
    asked: list[tuple[int, int]] = []
    noised_evaluation(
        fresh(base),
        SAMPLES,
        Inputs(base),
        KINDS[:1],
        Asking("direct", 4),
        1.0,
        SecureRandom(),
        progress=lambda done, of: asked.append((done, of)),
    )
    assert asked[-1][1] == sum((sample.scale, sample.task) == KINDS[0] for sample in SAMPLES)


def test_a_patients_samples_are_gathered_under_the_patient(tiny_base: Path) -> None:
    """Catches scores filed by slide: one patient with two slides would count twice."""
    twice = [SAMPLES[0], replace(SAMPLES[0], slide="another slide"), SAMPLES[-1]]
    found = patient_scores(twice, [None, None, "?"])
    assert len(found) == 2
    assert len(found[0][SAMPLES[0].scale, SAMPLES[0].task]) == 2


def test_an_answer_depends_on_its_own_sample_alone(tiny_base: Path) -> None:
    """Catches answers that change with who else is asked: one patient would move another's count."""
    base = Base.load(tiny_base)
    experts, inputs = fresh(base), Inputs(base)
    together = answer(experts, SAMPLES, inputs, Asking("direct", 6))
    alone = [answer(experts, [sample], inputs, Asking("direct", 6))[0] for sample in SAMPLES]
    assert together == alone


@pytest.mark.parametrize("noise", [0.0, -1.0])
def test_bare_counts_are_refused(tiny_base: Path, noise: float) -> None:
    """Catches an evaluation that would leave without noise."""
    base = Base.load(tiny_base)
    with pytest.raises(ValueError, match="noise_multiplier"):
        noised_evaluation(fresh(base), [], Inputs(base), KINDS, Asking("direct", 4), noise, SecureRandom())

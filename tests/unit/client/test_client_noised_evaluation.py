"""Noised evaluation on a real model: what it asks, whom it counts, and that a patient is one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from client.evaluation.answers import Asking, answer
from client.model.base import Base
from client.model.experts import Experts
from client.model.forward import Query
from client.noised_evaluation import noised_evaluation, patient_scores
from client.tasks.sample import Sample
from client.training import rollout
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


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_a_joiner_changes_nobody_elses_answers(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, precision: torch.dtype
) -> None:
    """Catches answers chosen in a batch that patients share: its padding and size change last bits, and at a tie a bit
    decides, so one patient more would move others' counts beyond what the noise covers (docs/adr/0016).
    """
    base = Base.load(tiny_base)
    base.model.to(precision)
    base.projector.to(torch.float32)
    experts, inputs = fresh(base), Inputs(base)
    longer = [replace(s, question=" ".join([s.question] * 6)) for s in samples_of("z")]
    everyone = [*SAMPLES, *longer]
    asked = {id(inputs([sample])[0]): sample.patient for sample in everyone}
    greedy = rollout.greedy

    def answers(samples: list[Sample]) -> dict[tuple[int, tuple[int, ...]], list[int]]:
        """What was chosen for each question, of the batches that `noised_evaluation` makes."""
        chosen = {}

        def watch(experts: Experts, queries: Sequence[Query], *rest: Any) -> list[list[int]]:
            assert len({asked[id(query.visual)] for query in queries}) == 1
            ids = greedy(experts, queries, *rest)
            keys = [(id(query.visual), tuple(query.prompt.ids.tolist())) for query in queries]
            chosen.update(zip(keys, ids, strict=True))
            return ids

        monkeypatch.setattr(rollout, "greedy", watch)
        noised_evaluation(experts, samples, inputs, KINDS, Asking("thinking", 24), 1.0, SecureRandom())
        return chosen

    without, among = answers(SAMPLES), answers(everyone)
    assert len(without) == len(SAMPLES)
    assert len(among) == len(everyone)
    assert {key: among[key] for key in without} == without


@pytest.mark.parametrize("noise", [0.0, -1.0])
def test_bare_counts_are_refused(tiny_base: Path, noise: float) -> None:
    """Catches an evaluation that would leave without noise."""
    base = Base.load(tiny_base)
    with pytest.raises(ValueError, match="noise_multiplier"):
        noised_evaluation(fresh(base), [], Inputs(base), KINDS, Asking("direct", 4), noise, SecureRandom())

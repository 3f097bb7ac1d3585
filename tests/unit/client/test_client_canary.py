"""Canaries in a whole training: without noise they are told apart, with noise they prove no more than is true."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from auditor.cli import app
from client.canary import (
    CanaryError,
    GradientCanaries,
    PatientCanaries,
    Report,
    audit,
    linear,
    trained_experts,
)
from client.data import open_slides
from client.home import Home
from client.model.base import Base
from client.model.experts import Experts
from client.tasks.sample import Sample
from privacy.audit_bounds import gaussian_epsilon
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.model_cases import Inputs, fresh, plan, samples_of

DELTA = 1e-5
COHORT = [samples_of(patient)[0] for patient in "abcdefgh"]


@pytest.fixture(scope="module")
def experts(tiny_base: Path) -> Experts:
    return fresh(Base.load(tiny_base))


def run(experts: Experts, sigma: float, count: int, steps: int = 4, rounds: int = 3) -> Report:
    mechanism = Mechanism(1.0, sigma, 0.25, steps, 4)
    learning_rate, nominal_patients = linear(mechanism, 5e-3)
    asked = plan(experts.base.hash, "sft", mechanism, ["scale/roi"])
    asked = replace(asked, learning_rate=learning_rate)
    random = SeededRandom(f"{sigma}")
    canaries = GradientCanaries(experts, ["scale/roi"], COHORT[0], count, random)
    told: list[tuple[int, int]] = []
    report = audit(
        experts,
        COHORT,
        Inputs(experts.base),
        asked,
        rounds,
        nominal_patients,
        canaries,
        "gradient",
        DELTA,
        random,
        lambda done, of: told.append((done, of)),
    )
    assert told == [(i, rounds) for i in range(1, rounds + 1)]
    return report


def test_gradient_canaries_without_noise_refute_any_claim(experts: Experts) -> None:
    """Catches canaries that do not reach training, and scores that do not see them: nearly all guesses right."""
    report = run(experts, 0.01, 400)
    assert report.correct >= 0.9 * report.guesses
    assert report.lower_bound_gaussian > 1.5
    assert report.lower_bound_gaussian_at_most >= report.lower_bound_gaussian


def test_gradient_canaries_under_noise_stay_below_the_claim(experts: Experts) -> None:
    """Catches an audit that accuses a right training: its bounds stay under the claim, and it says how much it
    could have shown.
    """
    report = run(experts, 1.0, 400)
    assert not report.refuted
    assert report.lower_bound <= report.lower_bound_gaussian < report.epsilon_claimed
    assert 0 < report.lower_bound_at_most < report.lower_bound_gaussian_at_most
    assert report.epsilon_claimed > gaussian_epsilon(0.5, DELTA)


def test_a_claim_below_the_bound_is_refuted(experts: Experts) -> None:
    """Catches an audit that measures a breach and does not say so."""
    report = run(experts, 0.01, 400, steps=2, rounds=1)
    assert replace(report, epsilon_claimed=report.lower_bound_gaussian / 2).refuted


def test_canaries_share_no_coordinate_and_are_clipped_like_anyone(experts: Experts) -> None:
    """Catches two canaries that are one, and a canary that pulls harder than the clip norm lets it."""
    canaries = GradientCanaries(experts, ["scale/roi"], COHORT[0], 500, SeededRandom(1))
    assert len(set(canaries._coordinates.tolist())) == 500
    assert len({sample.patient for sample in canaries.samples}) == 500


def test_mislabelled_patients_are_scored_by_what_training_made_likelier(experts: Experts) -> None:
    """Catches scores the wrong way round, and scoring that leaves other weights behind than it found: what is
    trained long enough without noise becomes likelier; what is not trained is as likely as before.
    """
    inputs = Inputs(experts.base)
    random = SeededRandom(3)
    canaries = PatientCanaries(experts, COHORT, inputs, 6, random)
    truth = {(sample.slide, sample.question): sample.answer for sample in COHORT}
    assert all(sample.answer != truth[sample.slide, sample.question] for sample in canaries.samples)
    before = {key: value.detach().clone() for key, value in experts.trainable(["scale/roi"]).items()}
    mechanism = Mechanism(10.0, 0.0, 1.0, 12, 4)
    asked = plan(experts.base.hash, "sft", mechanism, ["scale/roi"])
    from client.training.round import train_round

    chosen = canaries.samples[:3]
    train_round(experts, ["scale/roi"], chosen, inputs, asked, 3, random, lambda done, of: None)
    scores = canaries.scores(before)
    assert scores[:3].min() > 0
    np.testing.assert_allclose(canaries.scores(before), scores, atol=1e-5)
    experts.write(before)
    np.testing.assert_allclose(canaries.scores(before), 0.0, atol=1e-5)


def _named_like_a_canary(experts: Experts) -> Report:
    canaries = GradientCanaries(experts, ["scale/roi"], COHORT[0], 20, SeededRandom(0))
    asked = plan(experts.base.hash, "sft", Mechanism(1.0, 1.0, 0.5, 1, 1), ["scale/roi"])
    cohort: list[Sample] = [replace(COHORT[0], patient="canary/x")]
    inputs = Inputs(experts.base)
    random = SeededRandom(0)
    return audit(
        experts, cohort, inputs, asked, 1, 10, canaries, "gradient", DELTA, random, lambda done, of: None
    )


Refused = Callable[[Experts], object]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda e: GradientCanaries(e, ["scale/roi"], COHORT[0], 10**6, SeededRandom(0)), "coordinates"),
        (lambda e: PatientCanaries(e, COHORT, Inputs(e.base), 100, SeededRandom(0)), "mislabel"),
        (_named_like_a_canary, "rename"),
    ],
    ids=["more than coordinates", "more than questions", "a patient named like a canary"],
)
def test_a_training_that_can_not_hold_the_canaries_is_refused(
    ask: Refused, message: str, experts: Experts
) -> None:
    """Catches an audit that quietly does less than it was asked."""
    with pytest.raises(CanaryError, match=message):
        ask(experts)


def test_only_scale_experts_with_samples_are_trained() -> None:
    """Catches a plan for experts that no sample trains."""
    assert trained_experts(COHORT) == ("scale/roi",)
    assert trained_experts(samples_of("a")) == ("scale/roi", "scale/wsi")


def test_the_command_leaves_the_home_as_it_was(house: Callable[..., object]) -> None:
    """Catches an audit that writes to ledger, features or experts of the home that it copies."""
    home: Home = house().home  # type: ignore[attr-defined]
    open_slides(home)  # its catalogue is up to date, as an agent leaves it
    before = {path: path.stat().st_mtime_ns for path in home.folder.rglob("*")}
    options = ["--canaries", "40", "--rounds", "1", "--steps", "2", "--json"]
    result = CliRunner().invoke(app, ["canary", str(home.folder), *options])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["canaries"] == 40
    assert told["refuted"] is False
    assert {path: path.stat().st_mtime_ns for path in home.folder.rglob("*")} == before

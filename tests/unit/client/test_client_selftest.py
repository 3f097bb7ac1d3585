"""The self-test passes this installation, and finds each fault that is planted in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from client.cli import app
from client.home import Settings, create
from client.model.base import Base
from client.model.experts import Experts, attach
from client.selftest import distinguishing, door, hospital, sensitivity
from client.selftest.patients import Spoilt, open_inputs, short, write_slides
from client.selftest.plans import ALPHA, RANK, SEED
from client.training import cohort, sft
from client.training import round as rounds
from privacy import keys, tensors
from privacy.clip import Clipped, add, clip_and_sum
from privacy.code_hash import code_hash
from privacy.experts import EXPERTS, TRAINED_IN, same_form
from privacy.ledger.account import Reservation
from privacy.ledger.entries import Kind
from privacy.ledger.store import Ledger
from privacy.mechanism import Mechanism
from privacy.noise import Noised, add_noise
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.randomness import RandomSource, SecureRandom, SeededRandom, _Keystream
from privacy.selftest.sensitivity import sensitivity_findings
from privacy.selftest.verdict import Check

AddNoise = Callable[[Clipped, Mechanism, float, RandomSource], Noised]
Plant = Callable[[pytest.MonkeyPatch], None]


class Fixed(SeededRandom):
    """A generator with a seed, passed off as a secure one."""

    secure = True

    def __init__(self) -> None:
        super().__init__(0)


@dataclass
class Subject:
    """Experts on the tiny base with the self-test's slides."""

    experts: Experts
    base: Path
    folder: Path

    def checks_of_sensitivity(self) -> set[str]:
        inputs = Spoilt(self.inputs, sensitivity.HUGE, sensitivity.BROKEN)
        found = sensitivity_findings(sensitivity.movements(self.experts, inputs, lambda step: None))
        return {finding.where for finding in found}

    @property
    def inputs(self):  # type: ignore[no-untyped-def]
        return open_inputs(self.experts.base, self.folder / "slides", self.folder / "features")

    def place(self, folder: Path) -> hospital.Hospital:
        states = {name: tensors.encode(self.experts.initial(name)) for name in EXPERTS}
        return hospital.make(folder, self.base, door.PUBLIC.nominal_patients, states)


@pytest.fixture(scope="module")
def subject(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("selftest")
    write_slides(folder / "slides", [*sensitivity.all_samples(), *short("canary")])
    return Subject(attach(Base.load(tiny_base), same_form(EXPERTS, RANK, ALPHA), SEED), tiny_base, folder)


# --- the right installation


def test_the_command_passes_this_installation_and_records_it(tiny_base: Path, tmp_path: Path) -> None:
    """Catches a self-test that finds fault with what is right, a verdict that is not in the ledger, and a log that says a
    release left where one was rehearsed.
    """
    nowhere = tmp_path / "nothing"
    home = create(tmp_path / "home", Settings("north", nowhere, nowhere / "labels.csv", tiny_base))
    result = CliRunner().invoke(app, ["selftest", str(home.folder), "--json"])
    assert result.exit_code == 0, result.output
    assert "part-left" not in result.stderr
    told = json.loads(result.stdout)
    assert told["passed"]
    assert told["findings"] == []
    assert 0.99 < told["measured"]["greatest_movement"] <= 1.001
    assert told["measured"]["power_at_two_thirds"] > 0.99
    assert told["measured"]["power_at_three_halves"] > 0.99
    (entry,) = Ledger(home.ledger, keys.load(home.release_key)).entries()
    assert entry.kind == Kind.SELFTEST
    bound = {"lower": told["measured"]["epsilon_lower_bound"], "claimed": told["measured"]["epsilon_claimed"]}
    assert dict(entry.body) == {"passed": True, "code": code_hash(), "findings": [], "bound": bound}


# --- sensitivity


def per_sample(patch: pytest.MonkeyPatch) -> None:
    """Each sample is clipped apart, as if it were a patient."""
    real = rounds.clipped_sum

    def clipped_sum(draw, *rest):  # type: ignore[no-untyped-def]
        pairs = zip(draw.samples, draw.seeds, strict=True)
        apart = [([sample], seed) for samples, seed in pairs for sample in samples]
        samples, seeds = [s for s, _ in apart], [seed for _, seed in apart]
        return real(replace(draw, samples=samples, seeds=seeds), *rest)

    patch.setattr(rounds, "clipped_sum", clipped_sum)
    patch.setattr(sensitivity, "clipped_sum", clipped_sum)


def one_tensor_unclipped(patch: pytest.MonkeyPatch) -> None:
    """One tensor is left out of norm and clip."""

    def leaky(gradients: Mapping[str, Tensor], clip_norm: float) -> Clipped:
        left_out = max(gradients)
        rest = clip_and_sum({n: g for n, g in gradients.items() if n != left_out}, clip_norm)
        bare = gradients[left_out].nan_to_num().to(torch.float64).sum(0)
        return replace(rest, total={**rest.total, left_out: bare})

    patch.setattr(rounds, "clip_and_sum", leaky)


def batch_token_mean(patch: pytest.MonkeyPatch) -> None:
    """The loss is a mean over the batch's tokens."""
    losses = sft._losses

    def token_mean(experts, batch, tape):  # type: ignore[no-untyped-def]
        lengths = torch.tensor([len(target.ids) for target in batch])
        return losses(experts, batch, tape) * lengths / lengths.sum()

    patch.setattr(sft, "_losses", token_mean)


def realised_mean(patch: pytest.MonkeyPatch) -> None:
    """The sum is divided by how many patients were drawn."""
    drawn_now = [0]
    real = cohort.draw_patients

    def counted(patients: Sequence[str], rate: float, random: RandomSource) -> list[str]:
        drawn = real(patients, rate, random)
        drawn_now[0] = len(drawn)
        return drawn

    def divided(clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource) -> Noised:
        return add_noise(clipped, mechanism, max(1, drawn_now[0]), random)

    patch.setattr(cohort, "draw_patients", counted)
    patch.setattr(rounds, "add_noise", divided)


def seeds_by_place(patch: pytest.MonkeyPatch) -> None:
    """Patients' randomness follows from where they stand in the draw: who joins first shifts all others'."""
    real = rounds.clipped_sum

    def by_place(draw):  # type: ignore[no-untyped-def]
        return real(replace(draw, seeds=list(range(len(draw)))))

    patch.setattr(sensitivity, "clipped_sum", by_place)


def chunk_takes_its_neighbour(patch: pytest.MonkeyPatch) -> None:
    """The second chunk of patients, and each after it, begins with the last patient of the one before."""

    def overlapping(draw):  # type: ignore[no-untyped-def]
        total, size = None, draw.performance.patients
        for start in range(0, len(draw), size):
            given = rounds.stage_gradients(draw.part(range(max(0, start - 1), min(start + size, len(draw)))))
            part = clip_and_sum(given, draw.plan.mechanism.clip_norm)
            total = part if total is None else add(total, part)
        return total or rounds.clipped_sum(draw)

    patch.setattr(sensitivity, "clipped_sum", overlapping)


def padding_attended(patch: pytest.MonkeyPatch) -> None:
    """Answers look back at their prompt's padding, so at how long the batch's longest prompt is."""
    real = sft.read
    patch.setattr(sft, "read", lambda *args: replace(real(*args), valid=None))


@pytest.mark.parametrize(
    ("plant", "seen_in"),
    [
        (per_sample, {"sft, duplicates"}),
        (chunk_takes_its_neighbour, {"sft, a twin, in chunks of two", "grpo, a twin, in chunks of two"}),
        *(
            pytest.param(plant, seen_in, marks=pytest.mark.nightly)
            for plant, seen_in in (
                (one_tensor_unclipped, {"sft, many slides"}),
                (batch_token_mean, {"sft, a long answer"}),
                (realised_mean, {"sft, a whole round"}),
                (seeds_by_place, {"sft, many slides, first of all", "grpo, duplicates, in the middle"}),
                (padding_attended, {"sft, a long question, in the middle"}),
            )
        ),
    ],
)
def test_a_patient_who_moves_the_sum_too_far_is_found(
    plant: Plant, seen_in: set[str], subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each planted breach of the clip, and of patients' independence, is found where it should be."""
    plant(monkeypatch)
    assert seen_in <= subject.checks_of_sensitivity()


# --- noise


def replaced(
    clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource
) -> tuple[Noised, Any]:
    """A right step, and its mean without the noise."""
    quiet = add_noise(clipped, replace(mechanism, noise_multiplier=0.0), expected, random)
    return add_noise(clipped, mechanism, expected, random), quiet.mean


def forgotten(clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource) -> Noised:
    right, quiet = replaced(clipped, mechanism, expected, random)
    return replace(right, mean=quiet)


def on_one_expert_only(
    clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource
) -> Noised:
    right, quiet = replaced(clipped, mechanism, expected, random)
    first = min(quiet).split("::")[0]
    return replace(right, mean={n: right.mean[n] if n.startswith(first) else quiet[n] for n in quiet})


def not_on_one_tensor(
    clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource
) -> Noised:
    right, quiet = replaced(clipped, mechanism, expected, random)
    return replace(right, mean={**right.mean, min(quiet): quiet[min(quiet)]})


def half_scale(clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource) -> Noised:
    right, quiet = replaced(clipped, mechanism, expected, random)
    return replace(right, mean={n: (right.mean[n] + quiet[n]) / 2 for n in quiet})


def after_the_mean(clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource) -> Noised:
    """Calibrated as if the mean were the sum, and divided with it once more."""
    right, quiet = replaced(clipped, mechanism, expected, random)
    return replace(right, mean={n: quiet[n] + (right.mean[n] - quiet[n]) / expected for n in quiet})


def fixed_seed(clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource) -> Noised:
    return add_noise(clipped, mechanism, expected, Fixed())


def once_a_round(patch: pytest.MonkeyPatch) -> None:
    """All steps of a round get the noise of its first."""
    held: list[Noised] = []

    def repeated(clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource) -> Noised:
        if not held:
            held.extend([add_noise(clipped, mechanism, expected, random)] * mechanism.steps)
        return held.pop()

    patch.setattr(rounds, "add_noise", repeated)


def again_in_long_rounds(patch: pytest.MonkeyPatch) -> None:
    """Rounds of three steps and more get the noise of their first in all."""
    held: list[Noised] = []

    def repeated(clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource) -> Noised:
        if mechanism.steps < 3:
            return add_noise(clipped, mechanism, expected, random)
        if not held:
            held.extend([add_noise(clipped, mechanism, expected, random)] * mechanism.steps)
        return held.pop()

    patch.setattr(rounds, "add_noise", repeated)


def partly_shared(clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource) -> Noised:
    """0.6 of each tensor's noise is its own, 0.8 is one draw for all: of the right scale in each."""
    right, quiet = replaced(clipped, mechanism, expected, random)
    shared = torch.from_numpy(random.gaussian(max(value.numel() for value in quiet.values())))
    return replace(
        right,
        mean={
            n: (
                quiet[n]
                + 0.6 * (right.mean[n] - quiet[n])
                + 0.8 * right.noise_std * shared[: quiet[n].numel()].reshape(quiet[n].shape)
            ).float()
            for n in quiet
        },
    )


def a_twentieth_low(clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource) -> Noised:
    right, quiet = replaced(clipped, mechanism, expected, random)
    return replace(right, mean={n: quiet[n] + 0.95 * (right.mean[n] - quiet[n]) for n in quiet})


def not_on_the_last_value(
    clipped: Clipped, mechanism: Mechanism, expected: float, random: RandomSource
) -> Noised:
    right, quiet = replaced(clipped, mechanism, expected, random)
    for name, value in right.mean.items():
        value.view(-1)[-1] = quiet[name].reshape(-1)[-1]
    return right


def seeded_at_the_start(patch: pytest.MonkeyPatch) -> None:
    """Every start of the agent draws the same noise."""

    def seeded(self: SecureRandom) -> None:
        _Keystream.__init__(self, bytes(32))
        self._process = os.getpid()

    patch.setattr(SecureRandom, "__init__", seeded)


def noise(fault: AddNoise) -> Plant:
    return lambda patch: patch.setattr(rounds, "add_noise", fault)


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        pytest.param(noise(forgotten), Check.NOISE_SCALE, id="forgotten"),
        pytest.param(
            noise(on_one_expert_only), Check.NOISE_SCALE, id="on one expert only", marks=pytest.mark.nightly
        ),
        pytest.param(
            noise(not_on_one_tensor), Check.NOISE_SCALE, id="not on one tensor", marks=pytest.mark.nightly
        ),
        pytest.param(noise(half_scale), Check.NOISE_SCALE, id="half scale", marks=pytest.mark.nightly),
        pytest.param(
            noise(after_the_mean), Check.NOISE_SCALE, id="after the mean", marks=pytest.mark.nightly
        ),
        pytest.param(once_a_round, Check.NOISE_SCALE, id="once a round"),
        pytest.param(noise(fixed_seed), Check.NOISE_REPEATS, id="fixed seed", marks=pytest.mark.nightly),
        pytest.param(
            seeded_at_the_start, Check.NOISE_REPEATS, id="seeded at the start", marks=pytest.mark.nightly
        ),
        pytest.param(
            again_in_long_rounds, Check.NOISE_SCALE, id="again in long rounds", marks=pytest.mark.nightly
        ),
        pytest.param(noise(partly_shared), Check.NOISE_REPEATS, id="partly shared"),
        pytest.param(noise(a_twentieth_low), Check.NOISE_SCALE, id="a twentieth low"),
    ],
)
def test_wrong_noise_is_found_in_what_leaves(
    plant: Plant, check: Check, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each planted fault of the noise is found in what a real agent lets out."""
    plant(monkeypatch)
    assert check in {finding.check for finding in at_the_door(subject, tmp_path, monkeypatch)}


def at_the_door(subject: Subject, folder: Path, patch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The door's findings from four releases a stage: every fault here is seen in so few."""
    patch.setattr(door, "VALUES_NEEDED", 1)
    shapes = {name: subject.experts.shapes(name) for name in EXPERTS}
    place = subject.place(folder / "hospital")
    return door.Door(place, subject.experts.base.hash, shapes, lambda step: None).findings()


def test_a_round_sent_twice_and_charged_once_is_found(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that forgets what it answered, so that the agent trains again for nothing."""
    reserve, spend = Ledger.reserve, Ledger.spend
    known: dict[str, Reservation] = {}
    spent: set[str] = set()

    def again(self: Ledger, plan: Plan, policy: Policy, code: str) -> Reservation:
        if plan.hash not in known:
            known[plan.hash] = reserve(self, plan, policy, code)
        return known[plan.hash]

    def once(self: Ledger, reservation: Reservation, releases: Mapping[str, bytes]) -> None:
        if reservation.hash not in spent:
            spend(self, reservation, releases)
            spent.add(reservation.hash)

    monkeypatch.setattr(Ledger, "sent", lambda *args: None)
    monkeypatch.setattr(Ledger, "reserve", again)
    monkeypatch.setattr(Ledger, "spend", once)
    monkeypatch.setattr(Ledger, "log_egress", lambda *args: None)
    found = at_the_door(subject, tmp_path, monkeypatch)
    assert {finding.check for finding in found} == {Check.CHARGED_ONCE}


def test_an_uncharged_round_is_found(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that left and does not stand in the ledger: one of the charges is dropped."""
    real = door.Ledger.summary

    def forgetful(self: Ledger):  # type: ignore[no-untyped-def]
        summary = real(self)
        return replace(summary, events=summary.events[1:])

    monkeypatch.setattr(Ledger, "summary", forgetful)
    assert [f.where for f in at_the_door(subject, tmp_path, monkeypatch)] == ["ledger"]


# --- distinguishing


def told_apart(subject: Subject, folder: Path):  # type: ignore[no-untyped-def]
    """What the distinguishing instrument measures and finds."""
    place = subject.place(folder / "hospital")
    key = keys.load(place.home.release_key)
    asked = distinguishing.round_plan(subject.experts.base.hash)
    reservation = Ledger(folder / "ledger.db", key).reserve(asked, place.home.policy, code_hash())
    instrument = distinguishing.Distinguishing(subject.experts, subject.inputs, reservation, key)
    return instrument.findings(lambda step: None)


def test_a_canary_without_noise_is_told_apart(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This instrument alone finds noise forgotten: its lower bound is far above the claim."""
    monkeypatch.setattr(rounds, "add_noise", forgotten)
    measured, found = told_apart(subject, tmp_path)
    assert Check.DISTINGUISHING in {finding.check for finding in found}
    assert measured["epsilon_lower_bound"] > 3 * measured["epsilon_claimed"]


def test_one_value_without_noise_is_found(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise left out of a single value of each tensor, which no tensor's scale shows."""
    monkeypatch.setattr(rounds, "add_noise", not_on_the_last_value)
    _, found = told_apart(subject, tmp_path)
    tensors_of = subject.experts.shapes(distinguishing.EXPERT)
    assert {f.where for f in found} == {f"nobody drawn, {name}, one value" for name in tensors_of}


def test_an_agent_that_answers_nothing_is_a_finding(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a self-test that falls over, or passes, where there is nothing to test."""
    from client.selftest import run

    monkeypatch.setattr(rounds, "train_round", None)
    monkeypatch.setattr("client.paid_work.train_round", None)
    monkeypatch.setattr(run, "_direct", lambda *args: ({}, []))
    verdict = run.selftest(tiny_base, lambda step: None)
    assert verdict.names == [Check.NO_RELEASE]
    assert not verdict.passed


def test_every_expert_that_any_stage_trains_is_looked_at() -> None:
    """Catches an expert added later that the self-test does not know."""
    assert {name for trained in TRAINED_IN.values() for name in trained} == set(EXPERTS)

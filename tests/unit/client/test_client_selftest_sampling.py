"""The self-test's look at the training loop: it passes this one, and finds each fault that is planted in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from client.selftest import sampling
from client.training import cohort
from client.training import round as rounds
from client.training.batch import by_kind
from privacy.clip import Clipped, add
from privacy.noise import add_noise
from privacy.sampling import draw_patients
from privacy.selftest.verdict import Check

Plant = Callable[[pytest.MonkeyPatch], None]


def drawing(draw: Callable[..., list[str]]) -> Plant:
    return lambda patch: patch.setattr(cohort, "draw_patients", draw)


def a_tenth_too_often(patients: Any, rate: float, random: Any) -> list[str]:
    return draw_patients(patients, min(1.0, 1.1 * rate), random)


def of_a_fixed_size(patients: Any, rate: float, random: Any) -> list[str]:
    order = np.argsort(random.uniform(len(patients)))
    return [patients[i] for i in order[: round(rate * len(patients))]]


def of_a_capped_size(patients: Any, rate: float, random: Any) -> list[str]:
    return draw_patients(patients, rate, random)[: round(rate * len(patients))]


def one_for_all_steps(patch: pytest.MonkeyPatch) -> None:
    held: dict[int, list[str]] = {}

    def once(patients: Any, rate: float, random: Any) -> list[str]:
        return held.setdefault(id(random), draw_patients(patients, rate, random))

    patch.setattr(cohort, "draw_patients", once)


def kept_for_two_steps(patch: pytest.MonkeyPatch) -> None:
    held: list[list[str]] = []

    def twice(patients: Any, rate: float, random: Any) -> list[str]:
        if not held:
            held.extend([draw_patients(patients, rate, random)] * 2)
        return held.pop()

    patch.setattr(cohort, "draw_patients", twice)


def a_slide_for_a_patient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cohort, "by_kind", lambda samples, kind: by_kind(samples, lambda sample: sample.slide))


def all_of_a_patients_samples(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cohort, "draw_samples", lambda count, at_most, random: list(range(count)))


def carried_across_steps(patch: pytest.MonkeyPatch) -> None:
    real = rounds.clipped_sum
    held: list[Clipped] = []

    def carried(*args: Any, **named: Any) -> Any:
        now = real(*args, **named)
        held.append(now if not held else add(held[-1], now))
        return held[-1]

    patch.setattr(sampling, "clipped_sum", carried)


def divided_by_those_there_are(patch: pytest.MonkeyPatch) -> None:
    """The public number, or how many were drawn where that is more."""
    now = [0]

    def counted(patients: Any, rate: float, random: Any) -> list[str]:
        drawn = draw_patients(patients, rate, random)
        now[0] = len(drawn)
        return drawn

    def divided(clipped: Any, mechanism: Any, expected: float, random: Any) -> Any:
        return add_noise(clipped, mechanism, max(expected, now[0]), random)

    patch.setattr(cohort, "draw_patients", counted)
    patch.setattr(rounds, "add_noise", divided)


def test_this_loop_gives_no_finding() -> None:
    """Catches a self-test that finds fault with what is right (its level: docs/selftest.md), and a training loop with
    any of the faults below: the rate's test finds a rate 10 % off with a chance above 1 - 1e-12.
    """
    assert sampling.findings("0" * 64, lambda step: None) == []


@pytest.mark.parametrize(
    ("plant", "check", "says"),
    [
        (drawing(a_tenth_too_often), Check.SAMPLING, "charged was 0.3"),
        (drawing(of_a_fixed_size), Check.SAMPLING, "the sizes of draws vary 0.00"),
        (drawing(of_a_capped_size), Check.SAMPLING, "as if capped"),
        (one_for_all_steps, Check.SAMPLING, "patients' shares vary"),
        (kept_for_two_steps, Check.SAMPLING, "a draw shares"),
        (a_slide_for_a_patient, Check.SAMPLING, "a patient took part twice in one step"),
        (all_of_a_patients_samples, Check.SAMPLING, "more than 2 samples"),
        (carried_across_steps, Check.STEPS, "differs by"),
        (divided_by_those_there_are, Check.STEPS, "differs by 0.9"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_loop_that_draws_or_adds_wrongly_is_found(
    plant: Plant, check: Check, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each planted fault is found, by the test that is made for it."""
    plant(monkeypatch)
    found = sampling.findings("0" * 64, lambda step: None)
    assert any(f.check == check and says in f.what for f in found), [str(f) for f in found]

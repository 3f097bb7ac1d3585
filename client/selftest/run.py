"""The whole self-test, in a folder that is thrown away; nothing of the hospital's own data is read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from client.home import Home
from client.model.base import Base
from client.model.experts import Experts, attach
from client.sampler import vllm_of
from client.selftest import distinguishing, hospital, sampling, sensitivity
from client.selftest.door import PUBLIC, Door, releases_needed
from client.selftest.hospital import Hospital, NoAnswerError
from client.selftest.patients import Spoilt, open_inputs, short, write_slides
from client.selftest.plans import ALPHA, RANK, SEED
from client.training import rollout
from privacy import keys, tensors
from privacy.code_hash import code_hash
from privacy.events import rehearsal
from privacy.experts import EXPERTS, TRAINED_IN, same_form
from privacy.ledger.store import Ledger
from privacy.selftest.noise import power
from privacy.selftest.sensitivity import sensitivity_findings
from privacy.selftest.verdict import Check, Finding, Verdict

Tell = Callable[[str], None]


def selftest(base: Path, tell: Tell, vllm: Path | None = None) -> Verdict:
    """Drive this installation's release path with made-up patients on the base in folder `base`, rollouts by `vllm` where
    the hospital has one.

    Four instruments (docs/selftest.md says what each can see): sensitivity without noise; whether patients are drawn
    as charged for and steps add up; the noise in what a real agent lets out, and whether each round is charged;
    whether many releases tell a canary's presence.
    Reads no home, no slide and no ledger of the hospital's. `tell` hears of each step's begin.
    Raises `ModelError` where the base can't be loaded.
    """
    with tempfile.TemporaryDirectory(prefix="fedpath-selftest-") as name, rehearsal():
        return _selftest(base, Path(name), tell, vllm)


def record(home: Home, verdict: Verdict) -> None:
    """Write the verdict into the hospital's ledger (`LedgerError`)."""
    ledger = Ledger(home.ledger, keys.load(home.release_key))
    ledger.selftest(verdict.passed, verdict.code, verdict.names, verdict.bound)


def _selftest(base: Path, folder: Path, tell: Tell, vllm: Path | None) -> Verdict:
    loaded = Base.load(base, "cuda" if torch.cuda.is_available() else "cpu")
    experts = attach(loaded, same_form(EXPERTS, RANK, ALPHA), SEED)
    base_hash = loaded.hash
    shapes = {name: experts.shapes(name) for name in EXPERTS}
    states = {name: tensors.encode(experts.initial(name)) for name in EXPERTS}
    place = hospital.make(folder / "hospital", base, PUBLIC.nominal_patients, states, vllm)
    measured, findings = _direct(experts, folder, place, tell)
    del experts, loaded  # the agent loads the base again, and a large one fits only once
    try:
        findings += Door(place, base_hash, shapes, tell).findings()
    except NoAnswerError as error:
        findings.append(Finding(Check.NO_RELEASE, "agent", str(error)))
    return Verdict(code_hash(), tuple(findings), measured | _powers(shapes))


def _direct(
    experts: Experts, folder: Path, place: Hospital, tell: Tell
) -> tuple[dict[str, float], list[Finding]]:
    """The three instruments that call the training code itself."""
    slides = folder / "slides"
    write_slides(slides, [*sensitivity.all_samples(), *short("canary")])
    inputs = open_inputs(experts.base, slides, folder / "features")
    engine = vllm_of(place.home, 0, lambda: None)
    spoilt = Spoilt(inputs, sensitivity.HUGE, sensitivity.BROKEN)
    try:
        moved = sensitivity.movements(experts, spoilt, tell, engine or rollout.sample)
    finally:
        if engine is not None:
            engine.close()
    findings = sensitivity_findings(moved) + sampling.findings(experts.base.hash, tell)
    key = keys.load(place.home.release_key)
    ledger = Ledger(folder / "distinguishing.db", key)
    asked = distinguishing.round_plan(experts.base.hash)
    reservation = ledger.reserve(asked, place.home.policy, code_hash())
    measured, found = distinguishing.Distinguishing(experts, inputs, reservation, key).findings(tell)
    greatest = max(movement.share for movement in moved)
    others = max(movement.others for movement in moved)
    return {"greatest_movement": greatest, "greatest_change_of_others": others, **measured}, [
        *findings,
        *found,
    ]


def _powers(shapes: dict[str, dict[str, tuple[int, ...]]]) -> dict[str, float]:
    """The least chance, over all tensors, that the noise's scale is found wrong at 2/3 and at 3/2 of it."""
    chances: dict[str, float] = {}
    for stage in TRAINED_IN.values():
        parts = {expert: shapes[expert] for expert in stage}
        sizes = [torch.Size(shape).numel() for shape_of in parts.values() for shape in shape_of.values()]
        values = min(sizes) * releases_needed(parts)
        for name, ratio in (("power_at_two_thirds", 2 / 3), ("power_at_three_halves", 3 / 2)):
            chances[name] = min(chances.get(name, 1.0), power(values, ratio, len(sizes)))
    return chances

"""The tables of the study on real images, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from client.tasks.sample import Sample
from demo.real_cohort import STAINS
from demo.real_scores import ROWS, Said, arm, as_text, difference
from strategies.definition import Stage

PRICES = ("no privacy", "epsilon 8")


def report(
    samples: Sequence[Sample],
    said: Mapping[str, Sequence[Said]],
    folds: int,
    stages: Sequence[Stage],
    delta: float,
    of: int,
) -> tuple[dict[str, Any], str]:
    """Figures of every arm and difference, and docs/results-real.md.  `stages` have the noise of epsilon 8.

    Raises `ValueError` where no fold is whole yet.
    """
    if not folds:
        raise ValueError("no fold has all its runs yet: let the study go on")
    arms = {name: arm(said[name], samples) for name in _arms()}
    differences = {
        name: difference(said[more], said[less], samples) for name, (more, less) in _differences().items()
    }
    images = len({sample.patient for sample in samples})
    facts = {
        "images": images, "samples": len(samples), "folds": folds, "delta": delta,
        "noise_multiplier": stages[0].mechanism.noise_multiplier,
    }  # fmt: skip
    result = facts | {
        "arms": {name: {row: asdict(f) for row, f in found.items()} for name, found in arms.items()},
        "differences": {name: {row: asdict(f) for row, f in found.items()} for name, found in differences.items()},
    }  # fmt: skip
    return result, _text(arms, differences, facts, stages, of)


def _arms() -> list[str]:
    """The lines of the table; each hospital alone comes last."""
    runs = ("local", "federated", "pooled", *(f"local {stain}" for stain in STAINS.values()))
    return ["constant", "base", *(f"{run}, {price}" for run in runs for price in PRICES)]


def _differences() -> dict[str, tuple[str, str]]:
    free, private = PRICES
    return {
        f"{more} over {less}, {price}": (f"{more}, {price}", less if less == "base" else f"{less}, {price}")
        for price in PRICES
        for more, less in (("federated", "base"), ("federated", "local"), ("pooled", "federated"))
    } | {"what privacy costs the federation": (f"federated, {free}", f"federated, {private}")}


def _text(
    arms: Mapping[str, Any],
    differences: Mapping[str, Any],
    facts: Mapping[str, Any],
    stages: Sequence[Stage],
    of: int,
) -> str:
    head = " | " + " | ".join(row.name for row in ROWS) + " |\n|---|" + "---|" * len(ROWS) + "\n"
    lines = [f"| {name} | {as_text(found)} |" for name, found in arms.items()]
    gains = [f"| {name} | {as_text(found, '+')} |" for name, found in differences.items()]
    part = "" if facts["folds"] == of else f" (of {of}; the study was not run to its end)"
    steps = sum(stage.rounds * stage.mechanism.steps for stage in stages)
    return (
        "# Results of the study on real images\n\n"
        f"`make study-real DATA=path/to/dsb2018_stained`: {facts['images']} images, each held out once over "
        f"{facts['folds']} folds{part}, {facts['samples']} questions. Stain and count: accuracy; the count's mean absolute "
        "error (less is better); AP50; Dice. In brackets: 95 % bootstrap over images. An image is the patient. Epsilon 8 is "
        f"at delta {facts['delta']:g} a hospital: noise multiplier {facts['noise_multiplier']:.2f} at sampling rate "
        f"{stages[0].mechanism.sampling_rate:g}, {steps} steps of SFT. Local: "
        "the mean of the three hospitals' models. [study-real.md](study-real.md) says what to read from it.\n\n| arm"
        + head
        + "\n".join(lines)
        + "\n\n| difference"
        + head
        + "\n".join(gains)
        + "\n"
    )

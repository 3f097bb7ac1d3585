"""Samples, visual inputs and experts that the tests of model and training share."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from client.model.base import Base
from client.model.experts import Experts, attach
from client.model.visual import Visual, encode_images
from client.tasks.sample import Box, Boxes, Label, Region, Sample, Text
from client.training import rollout
from client.training.batch import LoadInputs, Performance
from client.training.draw import Draw
from client.training.round import DEFAULT
from privacy.experts import EXPERTS, TASKS, same_form
from privacy.mechanism import Mechanism
from privacy.plan import Plan

SFT = ("router", "scale/roi", "scale/wsi")
GRPO = ("task/classification", "task/detection", "task/segmentation", "task/vqa")


def randomise(experts: Experts, names: Sequence[str], size: float = 0.05, seed: int = 0) -> None:
    """Give these experts weights, so that they matter."""
    generator = torch.Generator().manual_seed(seed)
    tensors = sorted(
        experts.trainable(names).items(), key=lambda item: item[0].startswith("router")
    )  # it comes last
    experts.write({key: size * torch.randn(value.shape, generator=generator) for key, value in tensors})


def fresh(base: Base) -> Experts:
    """All experts, the scale and task ones with random weights."""
    experts = attach(base, same_form(EXPERTS, 4, 8.0), seed=7)
    randomise(experts, EXPERTS)
    return experts


class Inputs:
    """Random images and slides, by the samples' slide names; the same name gives the same input."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._held: dict[tuple[str, str], Visual] = {}

    def __call__(self, samples: Sequence[Sample]) -> list[Visual]:
        return [self._one(sample.slide, sample.scale) for sample in samples]

    def _one(self, name: str, scale: str) -> Visual:
        if (name, scale) not in self._held:
            random = np.random.default_rng(sum(name.encode()))
            if scale == "wsi":
                tokens = torch.from_numpy(
                    random.standard_normal((int(random.integers(3, 9)), self._base.width))
                )
                self._held[name, scale] = Visual(tokens.float())
            else:
                sides = random.choice([32, 64], 2)
                image = random.integers(0, 256, (*sides, 3), dtype=np.uint8)
                self._held[name, scale] = encode_images(self._base, [image])[0]
        return self._held[name, scale]


def samples_of(patient: str) -> list[Sample]:
    """Five questions of unlike lengths about one patient: four about regions, one about a slide."""
    region = Region(0, 0, 64, 64)
    number = sum(patient.encode())
    label = ("stroma", "fat", "tumour")[number % 3]
    return [
        Sample(patient, patient, region, "classification", "Which tissue?", Label(label)),
        Sample(patient, patient, region, "vqa", "How many glands are there?", Text(str(number % 4))),
        Sample(patient, patient, region, "vqa", "Fat?", Text("yes"), ("yes", "no")),
        Sample(patient, patient, region, "detection", "Box them.", Boxes((Box(10, 20, 500, 600),))),
        Sample(patient, patient, None, "classification", "Diagnosis?", Label("carcinoma")),
    ]


def plan(base_hash: str, stage: str, mechanism: Mechanism, experts: Sequence[str], **extra: float) -> Plan:
    """A valid plan of one round."""
    return Plan(
        campaign="test",
        round=1,
        stage=stage,
        experts=tuple(sorted(experts)),
        mechanism=mechanism,
        learning_rate=1e-2,
        base_hash=base_hash,
        experts_hash=dict.fromkeys(EXPERTS, "0" * 64),
        forms=same_form(EXPERTS, 4, 8.0),
        expert_seed=7,
        **extra,  # type: ignore[arg-type]
    )


def norm(tensors: dict[str, Tensor]) -> float:
    """L2 norm over all tensors together."""
    return float(sum(t.double().square().sum() for t in tensors.values()) ** 0.5)


def draw_of(
    experts: Experts,
    names: Sequence[str],
    samples: Sequence[Sequence[Sample]],
    seeds: Sequence[int],
    inputs: LoadInputs,
    asked: Plan | None = None,
    performance: Performance = DEFAULT,
    max_rank: int | None = None,
    tasks: Collection[str] = tuple(TASKS),
) -> Draw:
    """A draw of these patients that trains these experts; without a plan, for losses, which ask for none."""
    asked = asked or plan(experts.base.hash, "sft", Mechanism(1.0, 0.0, 1.0, 1, 5), ["scale/roi"])
    trained = experts.trainable(names, max_rank)
    return Draw(experts, trained, samples, seeds, asked, tasks, inputs, performance, rollout.sample)

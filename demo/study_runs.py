"""The study's training runs: who trains together, what, under which privacy; and how each is scored.

A run's file holds, for each of its forms ("sft direct", "grpo thinking learned", ...), every row's metric and each
patient's share in it, so that two runs can be compared patient by patient.
"""

from __future__ import annotations

import gzip
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from client.evaluation.answers import Asking, Mode
from client.evaluation.scores import Answered
from client.model.base import Base
from client.model.experts import Experts
from client.reward_curve import read_marks
from client.tasks.registry import TASKS
from client.training.batch import by_kind
from demo.arms import (
    Hospital,
    State,
    answers,
    encoded,
    fresh,
    load,
    open_hospital,
    pooled,
    start,
    train_stage,
    with_inputs,
)
from demo.cohort import SITES, Site
from demo.free_questions import FREE, found_task, known
from demo.house import EMBEDDED
from demo.recipe import ANSWER_TOKENS, BUDGET, DELTA, STUDY, Recipe, at_epsilon, events, sft_alone, with_noise
from demo.shared_lora import SharedLora
from privacy.accounting import epsilon
from privacy.experts import EXPERTS, ROUTER

ENCODED = "encoded.pt"
Level = Literal["epsilon 8", "epsilon 3", "no privacy"]
LEVELS: dict[Level, float | None] = {"epsilon 8": BUDGET, "epsilon 3": 3.0, "no privacy": None}
Trained = Literal["experts", "one shared LoRA", "SFT alone", "nothing"]


@dataclass(frozen=True)
class Training:
    """One run: what is trained, under which privacy, by which sites; `together` says whether their patients are pooled,
    `rounded` whether what each sends is rounded to int8, as a release is.
    """

    trained: Trained
    level: Level
    sites: tuple[Site, ...] = SITES
    together: bool = False
    rounded: bool = False

    def recipe(self) -> Recipe:
        """Stages and noise of the run."""
        recipe = sft_alone(STUDY) if self.trained == "SFT alone" else STUDY
        target = LEVELS[self.level]
        return with_noise(recipe, 0.0) if target is None else at_epsilon(recipe, target)

    @property
    def epsilon(self) -> float | None:
        """What each hospital spends at DELTA; None where there is no privacy."""
        return None if LEVELS[self.level] is None else epsilon(events(self.recipe()), DELTA)


def _runs() -> dict[str, Training]:
    runs = {"base": Training("nothing", "no privacy")}
    runs |= {f"federated, {level}": Training("experts", level) for level in LEVELS}
    private = [level for level in LEVELS if LEVELS[level] is not None]
    runs |= {f"SFT alone, {level}": Training("SFT alone", level) for level in private}
    runs |= {f"one shared LoRA, {level}": Training("one shared LoRA", level) for level in LEVELS}
    runs |= {f"local {site.name}": Training("experts", "epsilon 8", (site,)) for site in SITES}
    runs["pooled"] = Training("experts", "no privacy", together=True)
    runs["rounded to int8, epsilon 8"] = Training("experts", "epsilon 8", rounded=True)
    return runs


RUNS = _runs()


@dataclass(frozen=True)
class Job:
    """A run under one seed; the folder of what finished runs found, and the one of cohorts and of what is under way."""

    run: str
    seed: int
    found: Path
    work: Path

    @property
    def name(self) -> str:
        """The run's part of a file name."""
        return f"{self.seed}-{self.run.replace(', ', '-').replace(' ', '-')}"

    @property
    def file(self) -> Path:
        """What the run found, once it has ended: JSON in gzip."""
        return self.found / f"{self.name}.json.gz"

    def write(self, found: Mapping[str, Any]) -> None:
        """Writes the run's file whole; the same findings give the same bytes."""
        part = self.work / f"{self.name}.part"
        part.write_bytes(gzip.compress(json.dumps(found).encode() + b"\n", mtime=0))
        shutil.move(part, self.file)
        self.under_way.unlink(missing_ok=True)

    @property
    def under_way(self) -> Path:
        """What a run keeps after each round, to go on from."""
        return self.work / f"{self.name}.under-way"

    def read(self) -> dict[str, Any]:
        """What the run found."""
        found: dict[str, Any] = json.loads(gzip.decompress(self.file.read_bytes()))
        return found


def experts_of(site: Site) -> list[str]:
    """The experts that a site has labels for."""
    return [e for e in EXPERTS if e.removeprefix("task/") not in site.unlabelled]


def encode(folder: Path, experts: Sequence[str]) -> None:
    """Reads and encodes every input of a cohort once, to a file in its folder."""
    torch.set_num_threads(1)
    done = folder / ENCODED
    if not done.exists():
        part = done.with_suffix(".part")
        torch.save(encoded(open_hospital(folder, Base.load(EMBEDDED), experts, STUDY.patients)), part)
        part.replace(done)


def open_encoded(folder: Path, base: Base, experts: Sequence[str]) -> Hospital:
    """A cohort whose inputs are at hand."""
    held = torch.load(folder / ENCODED, weights_only=False)  # our own file
    return with_inputs(open_hospital(folder, base, experts, STUDY.patients), held)


def run(job: Job) -> None:
    """Trains, scores after each stage, and writes the run's file whole."""
    torch.set_num_threads(1)
    began, training = time.monotonic(), RUNS[job.run]
    found = {"run": job.run, "seed": job.seed, "epsilon": training.epsilon} | _trained(job, training)
    job.write(found | {"seconds": round(time.monotonic() - began)})


def _trained(job: Job, training: Training) -> dict[str, Any]:
    data, base, recipe = job.work / "data" / str(job.seed), Base.load(EMBEDDED), training.recipe()
    public = open_encoded(data / "public", base, EXPERTS)
    if training.trained == "nothing":
        return {"forms": _forms(fresh(base, recipe), public, "base")}
    hospitals = [open_encoded(data / site.name, base, experts_of(site)) for site in training.sites]
    if training.together:
        hospitals = [pooled(hospitals)]
    shared = training.trained == "one shared LoRA"
    experts = SharedLora.fresh(base, recipe) if shared else fresh(base, recipe)
    rewards = job.work / f"{job.name}.rewards"
    kept = _taken_up(job, start(experts), rewards)
    last = 0
    for stage in recipe.stages:
        for number in range(last + 1, last + stage.rounds + 1):
            if number > kept.rounds:
                state = train_stage(
                    experts,
                    hospitals,
                    kept.state,
                    replace(stage, rounds=1),
                    recipe,
                    number,
                    job.seed,
                    rewards,
                    rounded=training.rounded,
                )
                kept = _keep(job, replace(kept, rounds=number, state=state))
        last += stage.rounds
        load(experts, kept.state)
        if f"{stage.kind} direct" not in kept.forms:
            kept = _keep(job, replace(kept, forms=kept.forms | _forms(experts, public, stage.kind)))
    found: dict[str, Any] = {"forms": kept.forms, "rewards": _curves(rewards)}
    if not shared:
        found["router"] = {
            name: found_task(experts, public.samples, public.inputs, wordings)
            for name, wordings in (("of the manifests", known(public.samples)), ("free", FREE))
        }
    return found


@dataclass(frozen=True)
class _Kept:
    """A run after so many rounds; `forms` are those of stages that ended."""

    rounds: int
    state: State
    forms: dict[str, list[dict[str, Any]]]


def _taken_up(job: Job, first: State, rewards: Path) -> _Kept:
    """What the run kept before it was stopped, or its start. A round's randomness is its own: nothing shows where it was cut."""
    if job.under_way.exists():
        return _Kept(**torch.load(job.under_way, weights_only=False))  # our own file
    shutil.rmtree(rewards, ignore_errors=True)
    rewards.mkdir()
    return _Kept(0, first, {})


def _keep(job: Job, kept: _Kept) -> _Kept:
    part = job.under_way.with_suffix(".part")
    torch.save(vars(kept), part)
    part.replace(job.under_way)
    return kept


def _forms(experts: Experts, public: Hospital, name: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of each form of answer after a stage, as "<name> <mode>"; with the gates that the router learned, where
    there is one and task experts are trained, "<name> <mode> learned" too.
    """
    modes: tuple[Mode, ...] = ("direct", "thinking")
    tasks = name not in ("base", "sft")
    asked = {
        f"{name} {mode}": Asking(mode, ANSWER_TOKENS, scale_experts=name != "base", task_experts=tasks)
        for mode in modes
    }
    if tasks and ROUTER in experts.names:
        asked |= {f"{form} learned": replace(asking, learned=True) for form, asking in asked.items()}
    return {form: scored(answers(experts, public, asking)) for form, asking in asked.items()}


def scored(answered: Sequence[Answered]) -> list[dict[str, Any]]:
    """Each scale and task: its metric, and every patient's sum of it, to six digits, and number of answers."""
    rows = []
    for (scale, task), pairs in sorted(by_kind(answered, lambda a: (a[1].scale, a[1].task)).items()):
        patients: dict[str, list[float]] = {}
        for value, (_, sample) in zip(TASKS[task].score(pairs), pairs, strict=True):
            total = patients.setdefault(sample.patient, [0.0, 0])
            total[0] += value
            total[1] += 1
        sums = {patient: [round(total, 6), count] for patient, (total, count) in patients.items()}
        rows.append({"scale": scale, "task": task, "metric": TASKS[task].metric, "patients": sums})
    return rows


def _curves(rewards: Path) -> dict[str, list[float]]:
    """Each task's mean reward by step, over all rollouts of all hospitals; empty where there was no GRPO."""
    steps: dict[str, dict[tuple[int, int], list[float]]] = {}
    for path in sorted(rewards.glob("*.jsonl")):
        for mark in read_marks(path):
            total = steps.setdefault(mark.task, {}).setdefault((mark.round, mark.step), [0.0, 0])
            total[0] += mark.mean * mark.rollouts
            total[1] += mark.rollouts
    return {
        task: [total / count for _, (total, count) in sorted(by_step.items())]
        for task, by_step in sorted(steps.items())
    }

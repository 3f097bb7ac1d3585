"""A federation on real images: three hospitals by stain, each arm scored on images that it never saw.  Resumable.

    make study-real DATA=path/to/dsb2018_stained      # every finished run stands under build/study-real/runs/

Arms, each without privacy and at each epsilon of `EPSILONS`, after SFT (thirteen patients a step are too few for GRPO:
docs/study-real.md):

    constant    the most frequent answer, without looking; base: nothing trained
    local       each hospital alone; the mean of the three models
    federated   three hospitals together
    pooled      all images in one place

The images are dealt into `FOLDS` folds: each arm trains once a fold, on the others, and answers what is asked of it, so
that every image is held out once.  It writes build/study-real/result.json, examples.png beside it, and the tables in
docs/results-real.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from client.evaluation.answers import Asking, answer
from client.model.base import Base
from client.slides.index import index_slides
from client.tasks.manifest import read_manifest
from client.tasks.sample import Sample
from demo.arms import (
    Hospital,
    encoded,
    fresh,
    load,
    open_hospital,
    pooled,
    start,
    train_stage,
    with_inputs,
)
from demo.cohort import MANIFEST
from demo.house import EMBEDDED
from demo.real_cohort import LISTING, STAINS, RealDataError, RealImage, folds, read_images, write
from demo.real_page import draw_examples
from demo.real_report import report
from demo.real_scores import Said, constant
from demo.recipe import ANSWER_TOKENS, DEMO
from privacy.accounting import calibrate
from privacy.base_folder import folder_hash
from privacy.experts import EXPERTS
from privacy.mechanism import Mechanism
from strategies.definition import Stage

FOLDS = 2
EPSILONS: tuple[float | None, ...] = (None, 8.0)  # None: clipped, without noise
# A tenth of one over all images, of which one is a patient; 1e-5, as the demo's, would cost more noise still.
DELTA = 1e-3
NOMINAL = {"purple on purple": 33, "purple on white": 18, "pink": 2}  # declared patients a hospital
RATE = 0.4
RECIPE = replace(DEMO, rank=8)
STAGES = (
    Stage("sft", 3, ("scale/roi",), 2.5e-2, Mechanism(0.5, 0.0, RATE, 40, 8)),
    Stage("sft", 1, ("scale/roi",), 8e-3, Mechanism(0.5, 0.0, RATE, 30, 8)),
)
LOCAL = tuple(f"local {stain}" for stain in STAINS.values())
TRAINED = ("federated", "pooled", *LOCAL)
ENCODED = "encoded.pt"
OUT = Path("build/study-real")
RESULTS = Path("docs/results-real.md")


@dataclass(frozen=True)
class Job:
    """One run: what is trained, at which epsilon (None: no privacy), with which fold held out."""

    run: str
    epsilon: float | None
    fold: int

    @property
    def name(self) -> str:
        """Of its file."""
        price = "" if self.run == "base" else f"-{'none' if self.epsilon is None else f'{self.epsilon:g}'}"
        return f"{self.fold}-{self.run.replace(' ', '-')}{price}.json"


def jobs() -> list[Job]:
    """All runs, fold by fold: what stands after a fold is a whole study of fewer images."""
    return [
        job
        for fold in range(FOLDS)
        for job in (Job("base", None, fold), *(Job(run, e, fold) for e in EPSILONS for run in TRAINED))
    ]


def noisy(stages: Sequence[Stage], epsilon: float | None) -> tuple[Stage, ...]:
    """The stages with the least noise, alike in all, under which all their steps stay within epsilon; None: no noise."""
    noise = 0.0
    if epsilon is not None:
        noise = calibrate(RATE, sum(s.rounds * s.mechanism.steps for s in stages), epsilon, DELTA)
    return tuple(replace(s, mechanism=replace(s.mechanism, noise_multiplier=noise)) for s in stages)


def run(job: Job, out: Path, dealt: Mapping[str, int], stains: Mapping[str, str]) -> None:
    """Trains one arm and writes what it answers to the fold's samples."""
    torch.set_num_threads(1)
    began, base = time.monotonic(), Base.load(EMBEDDED)
    held = torch.load(out / "data" / ENCODED, weights_only=False)  # our own file
    everything = with_inputs(open_hospital(out / "data", base, EXPERTS, sum(NOMINAL.values())), held)
    asked = _part(everything, {name for name, fold in dealt.items() if fold == job.fold})
    hospitals = [
        replace(
            _part(everything, {n for n, fold in dealt.items() if fold != job.fold and stains[n] == stain}),
            name=stain,
            nominal_patients=NOMINAL[stain],
        )
        for stain in STAINS.values()
        if job.run in ("federated", "pooled", f"local {stain}")
    ]
    experts = fresh(base, RECIPE)
    state = start(experts)
    rewards = out / "runs" / f"{job.name}.rewards"
    shutil.rmtree(rewards, ignore_errors=True)
    rewards.mkdir(parents=True)
    first = 1
    for stage in noisy(STAGES, job.epsilon) if hospitals else ():
        trained = [pooled(hospitals)] if job.run == "pooled" else hospitals
        state = train_stage(experts, trained, state, stage, RECIPE, first, job.fold, rewards)
        first += stage.rounds
    load(experts, state)
    said = answer(
        experts,
        asked.samples,
        asked.inputs,
        Asking("direct", ANSWER_TOKENS, scale_experts=True, task_experts=False),
    )
    found = {"job": asdict(job), "said": said, "seconds": round(time.monotonic() - began)}
    _put(out / "runs" / job.name, json.dumps(found) + "\n")


def _part(hospital: Hospital, patients: set[str]) -> Hospital:
    return replace(hospital, samples=[s for s in hospital.samples if s.patient in patients])


def gathered(out: Path, dealt: Mapping[str, int]) -> tuple[list[Sample], dict[str, list[Said]], int]:
    """The samples of the folds whose runs are all done, what every arm said to them, and how many folds these are.

    An arm is named "run, price"; `local` has a list of answers for each hospital's model.
    """
    complete = [
        f for f in range(FOLDS) if all((out / "runs" / job.name).exists() for job in jobs() if job.fold == f)
    ]
    every = _samples(out / "data")
    by_fold = {f: [s for s in every if dealt[s.patient] == f] for f in range(FOLDS)}
    samples = [s for f in complete for s in by_fold[f]]
    said: dict[str, list[Said]] = {}
    always: list[str] = []
    for fold in complete:
        always += constant([s for s in every if dealt[s.patient] != fold], by_fold[fold])
        for job in (job for job in jobs() if job.fold == fold):
            price = "no privacy" if job.epsilon is None else f"epsilon {job.epsilon:g}"
            before = said.setdefault("base" if job.run == "base" else f"{job.run}, {price}", [[]])
            before[0] = [*before[0], *json.loads((out / "runs" / job.name).read_text())["said"]]
    said["constant"] = [always]
    for name in [name for name in said if name.startswith(LOCAL[0])]:
        rest = name.removeprefix(LOCAL[0])
        said[f"local{rest}"] = [said[f"{local}{rest}"][0] for local in LOCAL]
    return samples, said, len(complete)


def _samples(data: Path) -> Sequence[Sample]:
    index = index_slides(data / "slides")
    return read_manifest(data / MANIFEST, index).samples


def prepare(source: Path, out: Path) -> list[RealImage]:
    """Slides, manifest and encoded inputs of all images under `out`; of another base, recipe or data what stands goes."""
    images = read_images(source)
    listing = json.loads((source / LISTING).read_text("utf-8"))
    wanted = json.dumps(
        {
            "base": folder_hash(EMBEDDED),
            "recipe": asdict(RECIPE),
            "stages": [asdict(s) for s in STAGES],
            "delta": DELTA,
            "data": listing["images"],
        }
    )
    stamp = out / "stamp"
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        for stale in (*out.glob("runs/*.json"), *out.glob("data/*.*"), *out.glob("data/slides/*.svs")):
            stale.unlink()
        (out / "runs").mkdir(parents=True, exist_ok=True)
        _put(stamp, wanted)
    write(out / "data", images)
    if not (out / "data" / ENCODED).exists():
        whole = open_hospital(out / "data", Base.load(EMBEDDED), EXPERTS, sum(NOMINAL.values()))
        part = out / "data" / f"{ENCODED}.part"
        torch.save(encoded(whole), part)
        part.replace(out / "data" / ENCODED)
    return images


def _put(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, "utf-8")
    part.replace(path)


def _train(
    missing: Sequence[Job], processes: int, out: Path, dealt: Mapping[str, int], stains: Mapping[str, str]
) -> Iterator[None]:
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, job, out, dealt, stains) for job in missing]):
            yield future.result()


def main() -> None:
    """Runs what is missing, one core a run, then writes the result of the folds that are whole."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help=f"the folder that holds {LISTING}, images/ and labels/")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    console = Console()
    try:
        images = prepare(asked.data, OUT)
    except RealDataError as error:
        sys.exit(str(error))
    dealt, stains = folds(images, FOLDS), {image.name: image.stain for image in images}
    missing = [job for job in jobs() if not (OUT / "runs" / job.name).exists()]
    with Progress(console=console) as bar:
        working = bar.add_task("training runs", total=len(jobs()), completed=len(jobs()) - len(missing))
        for _ in _train(missing, asked.processes, OUT, dealt, stains):
            bar.advance(working)
    samples, said, whole = gathered(OUT, dealt)
    result, text = report(samples, said, whole, noisy(STAGES, 8.0), DELTA, FOLDS)
    _put(OUT / "result.json", json.dumps(result, indent=1) + "\n")
    RESULTS.write_text(text, "utf-8")
    draw_examples(OUT / "examples.png", images, samples, said)
    console.print(text, soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()

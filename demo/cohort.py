"""Three hospitals' private data and the consortium's public validation set, written as real files.

Every hospital has its own organs, stain and scanner; none of these is in the public tissue that the base has seen.
The validation set comes from other patients of all three kinds.  Slides are drawn from (seed, site, patient) alone, so
that an interrupted writer goes on where it stopped and a finished one finds nothing to do.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from client.tasks.manifest_row import COLUMNS, OPTIONAL
from demo.questions import Question, Window, compose, regions, roi_questions, wsi_questions
from demo.slide_writer import Identifiers, write_slide
from demo.tissue import Organ, Stain, colour, draw

MARGIN, JITTER = 12, 12
GRIDS = ((2, 2), (2, 3), (3, 2))
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Site:
    """Where patients come from: organs (each patient has one), a stain, a scanner's resolution, and tasks never labelled."""

    name: str
    organs: tuple[Organ, ...]
    stain: Stain
    mpp: float
    unlabelled: tuple[str, ...] = ()


SITES = (
    Site(
        "north",
        (
            Organ("north colon", gland_radius=(17, 25), lumen=(0.6, 0.75), lumen_density=0.45, fibre_period=17),
            Organ("north skin", gland_radius=(8, 12), nucleus=(2.6, 3.2), tumour_matrix=0.65, fibre_contrast=0.28),
        ),
        Stain("north violet", (0.50, 0.77, 0.50), (0.55, 0.52, 0.17), (1.0, 0.94), (235, 239, 244)),
        0.5,
    ),
    Site(
        "south",
        (
            Organ("south breast", gland_radius=(10, 26), gland_elongation=(1.5, 1.9), fat_radius=(14, 18), lymphocyte=(2.3, 2.7)),
            Organ("south lung", gland_radius=(13, 19), lumen=(0.7, 0.8), fibre_period=5.5, stroma_cells=45),
        ),
        Stain("south brown", (0.41, 0.60, 0.65), (0.39, 0.49, 0.12), (0.94, 0.8), (244, 241, 231)),
        0.5,
    ),
    Site(
        "coast",
        (
            Organ("coast kidney", gland_radius=(9, 14), lumen=(0.3, 0.4), lumen_density=0.5, tumour_nucleus=(2.0, 2.6)),
            Organ("coast stomach", gland_radius=(14, 22), tumour_nucleus=(4.2, 5.2), fat_radius=(5, 7), fibre_contrast=0.02),
        ),
        Stain("coast faded", (0.55, 0.60, 0.40), (0.22, 0.70, 0.34), (0.62, 0.62), (225, 232, 222)),
        0.46,
        unlabelled=("detection",),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Cohort:
    """One folder to write: `patients` of each of `sites`, each asked at most `regions_a_patient` regions."""

    folder: Path
    sites: tuple[Site, ...]
    patients: int
    regions_a_patient: int
    seed: int


def write_cohort(cohort: Cohort, processes: int, tell: Callable[[int, int], None]) -> None:
    """Writes slides and manifest; `tell(done, of)` after each patient.  A complete folder of the same cohort is left alone;
    one of another cohort goes, with all that was made of it."""
    stamp, manifest = cohort.folder / "cohort.json", cohort.folder / MANIFEST
    wanted = json.dumps({**asdict(cohort), "folder": cohort.folder.name}, indent=1) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        if manifest.exists():
            tell(1, 1)
            return
    elif stamp.exists():
        shutil.rmtree(cohort.folder)
    (cohort.folder / "slides").mkdir(parents=True, exist_ok=True)
    stamp.write_text(wanted)
    jobs = [(cohort, site, number) for site in cohort.sites for number in range(cohort.patients)]
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(processes) as pool:
        for done, found in enumerate(pool.map(_write_patient, jobs, chunksize=8), 1):
            rows += found
            tell(done, len(jobs))
    part = manifest.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS + OPTIONAL, restval="")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(manifest)


def _write_patient(job: tuple[Cohort, Site, int]) -> list[dict[str, Any]]:
    """Draws one patient's one to three slides and returns the manifest's rows about them."""
    cohort, site, number = job
    rng = np.random.default_rng((cohort.seed, crc32(site.name.encode()), number))
    patient = f"{site.name}-{number:05d}"
    organ = site.organs[rng.integers(len(site.organs))]
    planted = Identifiers(
        f"DOE-{number:05d}^JANE", f"MRN-{site.name}-{number:07d}", f"SS-{site.name.upper()}-7781"
    )
    rows: list[dict[str, Any]] = []
    count = int(rng.choice((1, 2, 3), p=(0.8, 0.15, 0.05)))
    for index in range(count):
        canvas = draw(compose(*GRIDS[rng.integers(len(GRIDS))], rng), organ, rng, MARGIN)
        rgb = colour(canvas, site.stain, rng)
        name = f"{patient}-{index}.svs"
        path = cohort.folder / "slides" / name
        if not path.exists():
            write_slide(path.with_suffix(".part"), rgb, site.mpp, planted)
            path.with_suffix(".part").rename(path)
        base = {"patient": patient, "slide": name}
        windows = regions(canvas, MARGIN, JITTER, rng)
        asked = [(w, q) for w in windows for q in roi_questions(canvas, w) if q.task not in site.unlabelled]
        chosen = _choose(asked, -(-cohort.regions_a_patient // count), rng)
        rows += [{**base, **_row(question, window, site.mpp)} for window, question in chosen]
        # Fat is hardly told from glass by a tissue mask, so its tiles may be missing: nothing is asked about it.
        wholes = [q for q in wsi_questions(canvas) if "fat" not in (q.answer, *q.text.split())]
        for question in (wholes[0], wholes[int(rng.integers(1, len(wholes)))]):
            rows.append({**base, **_row(question, None, site.mpp)})
    return rows


def _choose(
    asked: list[tuple[Window, Question]], count: int, rng: np.random.Generator
) -> Iterator[tuple[Window, Question]]:
    """Takes the tasks in turn; where a question finds an object and where it finds none are both asked, three to one."""
    by_task: dict[str, list[tuple[Window, Question]]] = {}
    for window, question in asked:
        by_task.setdefault(question.task, []).append((window, question))
    tasks = sorted(by_task)
    first = int(rng.integers(len(tasks)))
    for turn in range(count):
        pool = by_task[tasks[(first + turn) % len(tasks)]]
        if pool[0][1].task in ("detection", "segmentation"):
            full = [p for p in pool if p[1].boxes or p[1].polygons]
            empty = [p for p in pool if not (p[1].boxes or p[1].polygons)]
            pool = (full if rng.random() < 0.75 else empty) or pool
        elif pool[0][1].task == "vqa":
            text = str(rng.choice(sorted({q.text for _, q in pool})))
            pool = [p for p in pool if p[1].text == text]
            answer = str(rng.choice(sorted({q.answer for _, q in pool})))
            pool = [p for p in pool if p[1].answer == answer]
        else:
            answer = str(rng.choice(sorted({q.answer for _, q in pool})))
            pool = [p for p in pool if p[1].answer == answer]
        yield pool[int(rng.integers(len(pool)))]


def _row(question: Question, window: Window | None, mpp: float) -> dict[str, Any]:
    """A manifest row: micrometres become level-0 pixels here, once."""

    def pixels(values: Any) -> list[Any]:
        return np.round(np.asarray(values, np.float64) / mpp, 1).tolist()

    row: dict[str, Any] = {"task": question.task, "question": question.text, "answer": question.answer}
    if window:
        row |= dict(zip(("x", "y", "width", "height"), (round(v / mpp) for v in window), strict=True))
    if question.task == "detection":
        row["boxes"] = json.dumps([pixels(b) for b in question.boxes])
    elif question.task == "segmentation":
        row["polygons"] = json.dumps([pixels(p) for p in question.polygons])
    elif question.choices:
        row["choices"] = json.dumps(question.choices)
    return row

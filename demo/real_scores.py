"""What the answers of the study on real images are worth: rows of figures, arm by arm, and differences of arms.

Every figure is a mean over samples that were held out, each of them once over all folds, with a 95 % bootstrap interval
that resamples whole images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.evaluation.scores import mean_and_interval
from client.tasks.registry import TASKS
from client.tasks.sample import Answer, Box, Boxes, Polygon, Polygons, Sample, Text
from demo.real_cohort import MOST_OBJECTS, OUTLINE_POINTS

Said = Sequence[str | None]  # an answer a sample, in the samples' order; None where it had no form


@dataclass(frozen=True)
class Figure:
    """A mean over samples and its 95 % interval over images."""

    mean: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Row:
    """A figure's name, the task that it is about, and each sample's part in it."""

    name: str
    task: str
    values: Callable[[Said, Sequence[Sample]], Sequence[float]]
    balanced: bool = False  # each true answer counts alike, however rare


def _metric(task: str) -> Callable[[Said, Sequence[Sample]], Sequence[float]]:
    return lambda said, samples: TASKS[task].score(list(zip(said, samples, strict=True)))


def off_by(said: Said, samples: Sequence[Sample]) -> list[float]:
    """How far each count is from the true one; what is no number counts as 0, and more than may be asked as that."""
    return [
        float(abs(min(_number(text), MOST_OBJECTS["vqa"]) - _number(_text(sample))))
        for text, sample in zip(said, samples, strict=True)
    ]


def _number(text: str | None) -> int:
    words = (text or "").strip()
    return int(words[:4]) if words.isascii() and words.isdigit() else 0


def _text(sample: Sample) -> str:
    assert isinstance(sample.answer, Text)
    return sample.answer.text


ROWS = (
    Row("stain", "classification", _metric("classification")),
    Row("stain, balanced", "classification", _metric("classification"), balanced=True),
    Row("count", "vqa", _metric("vqa")),
    Row("count is off by", "vqa", off_by),
    Row("boxes, AP50", "detection", _metric("detection")),
    Row("masks, Dice", "segmentation", _metric("segmentation")),
)


def arm(runs: Sequence[Said], samples: Sequence[Sample]) -> dict[str, Figure]:
    """An arm's figures by row; of several runs, each sample's mean over them."""
    return {row.name: _figure(row, _values(row, runs, samples), samples) for row in ROWS}


def difference(more: Sequence[Said], less: Sequence[Said], samples: Sequence[Sample]) -> dict[str, Figure]:
    """What one arm has over another, sample by sample."""
    return {
        row.name: _figure(row, _values(row, more, samples) - _values(row, less, samples), samples)
        for row in ROWS
    }


def constant(train: Sequence[Sample], samples: Sequence[Sample]) -> list[str]:
    """What is said without looking: in training a task's most frequent answer, its median box, its median outline."""
    by_task: dict[str, list[Answer]] = {}
    for sample in train:
        by_task.setdefault(sample.task, []).append(sample.answer)
    words = {task: TASKS[task].render(_middle(task, found)) for task, found in by_task.items()}
    return [words[s.task] for s in samples]


def _middle(task: str, found: Sequence[Answer]) -> Answer:
    if task == "detection":
        corners = [
            (b.x1, b.y1, b.x2, b.y2) for answer in found if isinstance(answer, Boxes) for b in answer.boxes
        ]
        return Boxes((Box(*np.median(corners, 0).astype(int).tolist()),))
    if task == "segmentation":
        rings = [
            shape.points for answer in found if isinstance(answer, Polygons) for shape in answer.polygons
        ]
        whole = [ring for ring in rings if len(ring) == OUTLINE_POINTS]
        return Polygons((Polygon(tuple((int(x), int(y)) for x, y in np.median(whole, 0))),))
    return Counter(found).most_common(1)[0][0]


def _of(row: Row, samples: Sequence[Sample]) -> list[int]:
    return [i for i, sample in enumerate(samples) if sample.task == row.task]


def _values(row: Row, runs: Sequence[Said], samples: Sequence[Sample]) -> NDArray[np.float64]:
    where = _of(row, samples)
    asked = [samples[i] for i in where]
    return np.mean([row.values([said[i] for i in where], asked) for said in runs], axis=0, dtype=np.float64)


def _figure(row: Row, values: NDArray[np.float64], samples: Sequence[Sample]) -> Figure:
    asked = [samples[i] for i in _of(row, samples)]
    classes = [TASKS[s.task].render(s.answer) for s in asked] if row.balanced else None
    return Figure(*mean_and_interval(values.tolist(), [s.patient for s in asked], classes))


def as_text(figures: Mapping[str, Figure], sign: str = "") -> str:
    """The cells of a line of a Markdown table, in the order of `ROWS`."""
    return " | ".join(
        f"{f.mean:{sign}.3f} ({f.ci95[0]:{sign}.3f} to {f.ci95[1]:{sign}.3f})"
        for f in (figures[row.name] for row in ROWS)
    )

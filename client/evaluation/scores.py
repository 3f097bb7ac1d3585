"""Figures from answers: each task's own metric, and what else is told of it, with 95 % bootstrap intervals.

Whole patients are resampled, for a patient's answers stand and fall together: intervals over single answers
would be too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from client.evaluation.answers import Asking, answer
from client.model.experts import Experts
from client.tasks.registry import TASKS
from client.tasks.sample import Sample
from client.tasks.task import Figure
from client.training.batch import LoadInputs, by_kind
from privacy.evaluation import Kind

RESAMPLES = 2000
_SEED = 0

Answered = tuple[str | None, Sample]  # what was answered (None: nothing that has the form), to what


@dataclass(frozen=True)
class Score:
    """One task at one scale: its metric's mean over n samples, and the mean's 95 % bootstrap interval.

    `further` marks a figure that is told beside the task's own metric.
    """

    scale: str
    task: str
    metric: str
    mean: float
    ci95: tuple[float, float]
    n: int
    further: bool = False


def evaluate(
    experts: Experts,
    samples: Sequence[Sample],
    load_inputs: LoadInputs,
    asking: Asking,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Score]:
    """Ask and score: `scores` of the model's answers, then `further_scores`."""
    texts = answer(experts, samples, load_inputs, asking, progress)
    answers = list(zip(texts, samples, strict=True))
    return [*scores(answers), *further_scores(answers)]


def scores(answers: Sequence[Answered]) -> list[Score]:
    """The metric of each (scale, task) among the answers: one row each, sorted."""
    return [
        _score(kind, Figure(TASKS[kind[1]].metric, TASKS[kind[1]].score(pairs)), pairs)
        for kind, pairs in of_kinds(answers)
    ]


def further_scores(answers: Sequence[Answered]) -> list[Score]:
    """What a report tells beside `scores`: each task's own further figures, such as balanced accuracy."""
    return [
        _score(kind, figure, pairs, further=True)
        for kind, pairs in of_kinds(answers)
        for figure in TASKS[kind[1]].figures(pairs)
    ]


def of_kinds(answers: Sequence[Answered]) -> list[tuple[Kind, list[Answered]]]:
    """Each (scale, task) with its answers, sorted by it."""
    return sorted(by_kind(answers, lambda pair: pair[1].kind).items())


def mean_and_interval(
    values: Sequence[float], patients: Sequence[str], classes: Sequence[str] | None = None
) -> tuple[float, tuple[float, float]]:
    """The mean of `values`, one a sample, and the 95 % percentile interval of it over resampled patients.

    With `classes`, one a sample, it is the mean over classes of each one's mean, however rare; a resample without any
    sample of a class is one of the others. Deterministic. At least one value.
    """
    whose = np.unique(np.asarray(patients), return_inverse=True)[1].reshape(-1)
    which = np.unique(np.asarray(classes or [""] * len(values)), return_inverse=True)[1].reshape(-1)
    shape = whose.max() + 1, which.max() + 1
    cell = whose * shape[1] + which
    sums = np.bincount(cell, np.asarray(values, np.float64), shape[0] * shape[1]).reshape(
        shape
    )  # [patients, classes]
    counts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    random = np.random.default_rng(_SEED)
    times = random.multinomial(shape[0], np.full(shape[0], 1 / shape[0]), RESAMPLES).astype(np.float64)
    with np.errstate(invalid="ignore"):
        resampled = np.nanmean((times @ sums) / (times @ counts), axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float((sums.sum(0) / counts.sum(0)).mean()), (float(low), float(high))


def _score(kind: Kind, figure: Figure, pairs: Sequence[Answered], *, further: bool = False) -> Score:
    """The figure over those of the answers that it is about."""
    about = [i for i, value in enumerate(figure.values) if value is not None]
    mean, interval = mean_and_interval(
        [value for value in figure.values if value is not None],
        [pairs[i][1].patient for i in about],
        None if figure.classes is None else [figure.classes[i] for i in about],
    )
    return Score(*kind, figure.name, mean, interval, len(about), further)

"""Figures and their intervals."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest

from client.evaluation.scores import further_scores, mean_and_interval, of_kinds, scores
from client.tasks.sample import Label, Region, Sample, Text
from client.tasks.wording import normalise

REGION = Region(0, 0, 64, 64)


def sample(task: str, answer: Label | Text, patient: str = "p", choices: tuple[str, ...] = ()) -> Sample:
    return Sample(patient, "s", REGION, task, "What?", answer, choices)


@pytest.mark.parametrize("values", [[0.25] * 5, [0.25]], ids=["alike", "one"])
def test_an_interval_of_equal_values_has_no_width(values: list[float]) -> None:
    """Catches an interval around something else than the mean."""
    whose = [str(n) for n in range(len(values))]
    assert mean_and_interval(values, whose) == (0.25, (0.25, 0.25))


def test_the_interval_is_one_over_patients() -> None:
    """In 200 cohorts of 40 patients whose 8 answers each are all alike, 95 % intervals cover the truth.

    Accepts 89 to 99 % of coverage (a right interval falls outside with a chance below 0.002). It would reject
    resampling of single answers, which covers about half of the time: asserted below.
    """
    random = np.random.default_rng(0)
    covered, naive = 0, 0
    for _ in range(200):
        right = (random.random(40) < 0.6).astype(float)
        values, whose = np.repeat(right, 8), np.repeat(np.arange(40), 8).astype(str)
        low, high = mean_and_interval(values.tolist(), whose.tolist())[1]
        covered += low <= 0.6 <= high
        low, high = mean_and_interval(values.tolist(), [str(n) for n in range(len(values))])[1]
        naive += low <= 0.6 <= high
    assert 0.89 <= covered / 200 <= 0.99
    assert naive / 200 < 0.7


def test_a_balanced_mean_has_an_interval_of_its_own() -> None:
    """Catches weights that were fixed before patients were resampled (intervals beyond 1 then), and a rare class that a
    resample may lack. In 200 cohorts of 60 patients, one in six of a rare class, the interval covers the truth in 88 to
    99 % (chance below 0.003): quantiles at 0.25 and 0.75 would cover half."""
    random, covered = np.random.default_rng(1), 0
    for _ in range(200):
        rare = np.arange(60) % 6 == 0
        right = random.random(60) < np.where(rare, 0.5, 0.9)
        whose, classes = [str(n) for n in range(60)], ["rare" if r else "common" for r in rare]
        mean, (low, high) = mean_and_interval(right.astype(float).tolist(), whose, classes)
        assert mean == pytest.approx((right[rare].mean() + right[~rare].mean()) / 2)
        assert 0 <= low <= mean <= high <= 1
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99
    answers = [
        (name if is_right else "else", sample("classification", Label(name), p))
        for name, is_right, p in zip(classes, right, whose, strict=True)
    ]
    (figure,) = further_scores(answers)
    assert (figure.mean, figure.ci95, figure.n) == (mean, (low, high), 60)


def test_a_figure_of_some_answers_is_of_their_patients() -> None:
    """Catches answers that a figure is not about counted as wrong, or their patients resampled; and normalising each
    true answer for every resample, which took half a minute for 2,000."""
    open_ones = [("pale cells", sample("vqa", Text("pale cells"), f"o{n}")) for n in range(5)]
    closed = [("yes" if n < 3 else "no", sample("vqa", Text("yes"), f"c{n}")) for n in range(6)]
    with patch("client.tasks.vqa.normalise", wraps=normalise) as reading:
        rows = {row.metric: row for row in further_scores([*open_ones, *closed])}
    assert reading.call_count <= 2 * 11
    apart = mean_and_interval([1.0] * 3 + [0.0] * 3, [f"c{n}" for n in range(6)])
    assert (rows["accuracy of closed"].mean, rows["accuracy of closed"].ci95) == apart
    assert (rows["accuracy of closed"].n, rows["token F1 of open"].n) == (6, 5)
    assert rows["token F1 of open"].ci95 == (1.0, 1.0)


def test_rows_are_by_scale_and_task_with_each_tasks_own_metric() -> None:
    """Catches answers of one kind counted with another's, and what a report tells beside them."""
    answers = [
        ("fat", sample("classification", Label("fat"), "a")),
        ("fat", sample("classification", Label("fat"), "b")),
        (None, sample("classification", Label("stroma"), "b")),
        ("yes", sample("vqa", Text("yes"), "a")),
        ("no", sample("vqa", Text("pale cells"), "a")),
    ]
    assert [(row.task, row.metric, row.n) for row in scores(answers)] == [
        ("classification", "accuracy", 3),
        ("vqa", "accuracy or token F1", 2),
    ]
    assert [row.mean for row in scores(answers)] == pytest.approx([2 / 3, 0.5])
    assert {row.metric: row.mean for row in further_scores(answers)} == {
        "balanced accuracy": 0.5,
        "accuracy of closed": 1.0,
        "token F1 of open": 0.0,
    }
    assert [kind for kind, _ in of_kinds(answers[::-1])] == [("roi", "classification"), ("roi", "vqa")]
    assert [row.metric for row in further_scores(answers[:4])] == ["balanced accuracy"]  # closed ones only

"""What the study on real images makes of answers, and how much noise its epsilon is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from client.tasks.registry import TASKS
from client.tasks.sample import Answer, Box, Boxes, Label, Polygon, Polygons, Region, Sample, Text
from demo.real_cohort import STAINS, RealImage
from demo.real_page import ARMS, draw_examples
from demo.real_report import report
from demo.real_scores import ROWS, _figure, _values, arm, constant, difference, off_by
from demo.real_study import DELTA, EPSILONS, FOLDS, NOMINAL, STAGES, Job, jobs, noisy
from privacy.accounting import epsilon

REGION = Region(0, 0, 128, 128)
BOX = Box(100, 100, 500, 500)
RIGHT = {
    "classification": "pink",
    "vqa": "3",
    "detection": "<bbox>[100,100,500,500]</bbox>",
    "segmentation": "<poly>[100,100,500,100,500,500,100,500]</poly>",
}


def _sample(patient: str, task: str, answer: Answer) -> Sample:
    return Sample(patient, f"{patient}.svs", REGION, task, "What?", answer)


def _samples(patients: int) -> list[Sample]:
    answers = {
        "classification": Label("pink"), "vqa": Text("3"), "detection": Boxes((BOX,)),
        "segmentation": Polygons((Polygon(BOX.points),)),
    }  # fmt: skip
    return [_sample(f"p{i}", task, answer) for i in range(patients) for task, answer in answers.items()]


def _said(samples: list[Sample], right: bool) -> list[str | None]:
    return [RIGHT[s.task] if right else None for s in samples]


def test_right_answers_score_full_and_none_score_nothing() -> None:
    """Catches a row that reads another task's answers, or that counts what was not said."""
    samples = _samples(5)
    full = {row.name: 1.0 for row in ROWS} | {"count is off by": 0.0}
    none = {row.name: 0.0 for row in ROWS} | {"count is off by": 3.0}
    assert {name: f.mean for name, f in arm([_said(samples, True)], samples).items()} == pytest.approx(full)
    assert {name: f.mean for name, f in arm([_said(samples, False)], samples).items()} == pytest.approx(none)
    both = arm([_said(samples, True), _said(samples, False)], samples)
    assert both["count"].mean == pytest.approx(0.5)  # the mean of two models, as of the hospitals alone
    gain = difference([_said(samples, True)], [_said(samples, False)], samples)
    assert gain["masks, Dice"].mean == pytest.approx(1.0)
    assert gain["count is off by"].mean == pytest.approx(-3.0)


@pytest.mark.parametrize(
    ("said", "off"),
    [("3", 0), ("5", 2), ("0", 3), ("999999", 6), ("many", 3), (None, 3), ("-4", 3), ("²", 3)],
)
def test_a_count_is_off_by(said: str | None, off: int) -> None:
    """Catches one wild number that outweighs all others, and a crash on words or odd digits."""
    assert off_by([said], [_sample("p", "vqa", Text("3"))]) == [off]


def test_balanced_accuracy_counts_stains_alike() -> None:
    """Catches a figure in which three rare images do not show."""
    samples = [
        _sample(f"p{i}", "classification", Label("pink" if i < 1 else "purple on white")) for i in range(10)
    ]
    (row,) = (row for row in ROWS if row.balanced)
    for said, mean in (["purple on white"] * 10, 0.5), (["pink", *["purple on white"] * 9], 1.0):
        figure = _figure(row, _values(row, [said], samples), samples)
        assert figure.mean == pytest.approx(mean)
        assert 0 <= figure.ci95[0] <= mean <= figure.ci95[1] <= 1  # a resample without the rare one included


def test_the_constant_answer_is_the_training_sets_own() -> None:
    """Catches a baseline that looked at what it is scored on, and one that is easier to beat than a guess has to be."""
    ring = ((500, 300), (650, 350), (700, 500), (650, 650), (500, 700), (350, 650), (300, 500), (350, 350))
    train = [
        *(_sample(f"t{i}", "vqa", Text("2")) for i in range(3)),
        _sample("t9", "classification", Label("pink")),
        *(_sample(f"t{i}", "detection", Boxes((Box(i, i, 500 + i, 500 + i),))) for i in range(3)),
        *(_sample(f"t{i}", "segmentation", Polygons((Polygon(ring),))) for i in range(3)),
        _sample("t9", "segmentation", Polygons((Polygon(ring[::2]),))),  # a sliver has fewer points
    ]
    held = [
        _sample("h", "vqa", Text("7")),
        _sample("h", "classification", Label("x")),
        _sample("h", "detection", Boxes(())),
        _sample("h", "segmentation", Polygons((Polygon(ring),))),
    ]
    said = constant(train, held)
    assert said[:2] == ["2", "pink"]
    assert said[2] == "<bbox>[1,1,501,501]</bbox>"  # the median corners
    assert TASKS["segmentation"].score([(said[3], held[3])]) == [pytest.approx(1.0)]


@pytest.mark.parametrize("price", [e for e in EPSILONS if e is not None])
def test_the_noise_is_the_least_that_keeps_to_epsilon(price: float) -> None:
    """Catches a private arm under another epsilon than the table says, and stages accounted apart."""
    spent = epsilon([s.mechanism.event() for s in noisy(STAGES, price) for _ in range(s.rounds)], DELTA)
    assert 0.98 * price < spent <= price
    free = noisy(STAGES, None)
    assert {s.mechanism.noise_multiplier for s in free} == {0.0}
    assert math.isinf(epsilon([free[0].mechanism.event()], DELTA))
    assert sum(NOMINAL.values()) * DELTA < 0.1


def test_every_run_has_a_file_of_its_own() -> None:
    """Catches two runs that overwrite each other, and a fold that lacks an arm."""
    names = [job.name for job in jobs()]
    assert len(set(names)) == len(names) == FOLDS * (1 + len(EPSILONS) * (2 + len(STAINS)))
    assert Job("local pink", 8.0, 2).name == "2-local-pink-8.json"


@pytest.fixture
def said() -> dict[str, list[list[str | None]]]:
    samples = _samples(4)
    names = ["constant", "base"]
    runs = ("local", "federated", "pooled", *(f"local {s}" for s in STAINS.values()))
    names += [f"{run}, {price}" for run in runs for price in ("no privacy", "epsilon 8")]
    return {name: [_said(samples, "no privacy" in name)] for name in names}


def test_the_report_says_each_arm_how_much_was_run_and_at_what_price(
    said: dict[str, list[list[str | None]]],
) -> None:
    """Catches a table of a part of the study that reads as the whole, and a difference with the wrong sign."""
    result, text = report(_samples(4), said, 1, noisy(STAGES, 8.0), DELTA, FOLDS)
    assert "| federated, no privacy | 1.000 (1.000 to 1.000) |" in text
    assert "| what privacy costs the federation | +1.000" in text
    assert f"1 folds (of {FOLDS}; the study was not run to its end)" in text
    assert f"delta {DELTA:g}" in text
    assert result["images"] == 4
    with pytest.raises(ValueError, match="no fold"):
        report([], said, 0, noisy(STAGES, 8.0), DELTA, FOLDS)


def test_the_page_shows_answers_over_their_own_tissue(
    said: dict[str, list[list[str | None]]], tmp_path: Path
) -> None:
    """Catches a page that fails on an arm without an answer, or that draws nothing."""
    images = [
        RealImage(f"p{i}", "pink", np.full((64, 64, 3), 200, np.uint8), np.zeros((64, 64), np.uint16))
        for i in range(4)
    ]
    assert set(ARMS) <= set(said)
    draw_examples(tmp_path / "page.png", images, _samples(4), said)
    assert (tmp_path / "page.png").stat().st_size > 1000

"""What the study of attacks has hostile hospitals send."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.tasks.sample import Box, Boxes, Label, Polygon, Polygons, Region, Sample, Text
from demo.attack_study import HOSTILE, MODELS, PARTS, TRAININGS
from demo.attacks import (
    ATTACKS,
    FREE_RIDER,
    LABEL_FLIP,
    SCALING,
    SIGN_FLIP,
    SMALL_SHIFT,
    hostile,
    mislabelled,
)
from demo.experiment import Change, after, passes
from strategies.aggregate import MEAN, MEDIAN, NORM_BOUND, Recipe
from strategies.noise import delta_noise
from tests.aggregation_cases import EXPERT, PLAN

SHAPES = {"a": (200, 4), "b": (50, 30)}


def _changes(seed: int, signal: float = 0.1) -> list[Change]:
    """Seven honest changes: noise of the plan's length about one signal."""
    random, deviation = np.random.default_rng(seed), delta_noise(PLAN).variance ** 0.5
    towards = {name: random.choice([-1.0, 1.0], shape) for name, shape in SHAPES.items()}
    return [
        Change(
            f"h{index}",
            EXPERT,
            {
                name: (deviation * (signal * value + random.normal(size=value.shape))).astype(np.float32)
                for name, value in towards.items()
            },
            0.01,
        )
        for index in range(7)
    ]


def _sent(attack: str) -> tuple[Change, Change, list[Change]]:
    *good, flipped, own = _changes(1)
    return hostile(attack, own, flipped, good, PLAN), own, good


def test_sign_flip_and_scaling_turn_the_change_round() -> None:
    """Catches an attack that helps, and a scaled one that the door would keep out, or that is no longer than it need be."""
    flipped, own, _ = _sent(SIGN_FLIP)
    assert all(np.array_equal(flipped.tensors[name], -own.tensors[name]) for name in SHAPES)
    scaled, own, _ = _sent(SCALING)
    assert passes(scaled, Recipe(), PLAN)
    assert scaled.norm > own.norm
    assert not passes(
        replace(scaled, tensors={k: 1.01 * v for k, v in scaled.tensors.items()}), Recipe(), PLAN
    )
    factor = -scaled.norm / own.norm
    assert all(np.allclose(scaled.tensors[name], factor * own.tensors[name]) for name in SHAPES)


def test_a_small_shift_lies_one_deviation_from_the_mean_against_it() -> None:
    """Catches a shift along the mean, or one that stands out among honest changes."""
    shifted, _, good = _sent(SMALL_SHIFT)
    for name in SHAPES:
        values = np.stack([change.tensors[name] for change in good])
        mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
        moved = shifted.tensors[name] - mean
        assert np.allclose(np.abs(moved), deviation, rtol=1e-4)
        assert (moved * mean <= 0).all()


def test_a_free_rider_passes_the_door_and_whoever_sends_nothing_does_not() -> None:
    """Catches a free rider whom the least norm gives away, which no free rider would do."""
    rider, own, _ = _sent(FREE_RIDER)
    assert passes(rider, Recipe(NORM_BOUND), PLAN)
    assert abs(np.vdot(rider.tensors["a"], own.tensors["a"])) < 0.2 * np.linalg.norm(rider.tensors["a"]) ** 2
    nothing = replace(rider, tensors={name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()})
    assert passes(nothing, Recipe(MEAN), PLAN)
    assert not passes(nothing, Recipe(NORM_BOUND), PLAN)


def test_label_flip_sends_what_wrong_answers_taught() -> None:
    """Catches the honest change sent in its place."""
    *good, flipped, own = _changes(1)
    assert hostile(LABEL_FLIP, own, flipped, good, PLAN) is flipped
    with pytest.raises(ValueError, match="one of sign flip"):
        hostile("unheard of", own, flipped, good, PLAN)


def test_what_does_not_pass_the_door_does_not_count() -> None:
    """Catches a table in which refused releases still do their harm."""
    good = _changes(2)
    start = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    huge = replace(good[0], hospital="x", tensors={k: 100 * v for k, v in good[0].tensors.items()})
    for recipe in (Recipe(), Recipe(MEDIAN)):
        with_it, without = after(start, [*good, huge], recipe, PLAN), after(start, good, recipe, PLAN)
        assert all(np.array_equal(with_it[name], without[name]) for name in SHAPES)


def test_every_wrong_answer_is_wrong_and_of_its_kind() -> None:
    """Catches label flips that leave some answers as they were."""
    region = Region(0, 0, 10, 10)
    word = Sample("p", "s", region, "classification", "Which?", Label("b"), ("a", "b"))
    assert mislabelled(word).answer == Label("a")
    boxes = Sample("p", "s", region, "detection", "Box.", Boxes((Box(0, 10, 100, 300),)))
    assert mislabelled(boxes).answer == Boxes((Box(900, 700, 1000, 990),))
    outline = replace(
        boxes, task="segmentation", answer=Polygons((Polygon(((0, 0), (10, 0), (0, 20))), Box(0, 0, 1, 2)))
    )
    turned = Polygons((Polygon(((1000, 1000), (990, 1000), (1000, 980))), Box(999, 998, 1000, 1000)))
    assert mislabelled(outline).answer == turned
    with pytest.raises(ValueError, match="without choices"):
        mislabelled(Sample("p", "s", None, "vqa", "What?", Text("words")))


def test_every_attack_meets_every_rule_once() -> None:
    """Catches an attack left out of the table, and a hostile hospital whose wrong answers nobody trains."""
    assert {model.attack for model in MODELS} >= set(ATTACKS)
    assert len({model.file for model in MODELS}) == len(MODELS)
    assert sum(PARTS.values()) == len({t.hospital for t in TRAININGS}) == 10
    assert {t.hospital for t in TRAININGS if t.flipped} == set(HOSTILE)

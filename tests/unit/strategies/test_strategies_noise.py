"""What noise makes of a change, against the real descent: the honest pass, free riders don't, and which weights win."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.weighting import CASES, EXPERT, PLAN, RECIPES, Change, change, changes, cosine, gains
from privacy.plan import Plan
from strategies.aggregate import Recipe, aggregate
from strategies.errors import AggregationError
from strategies.gathered import gather
from strategies.noise import check_stated, delta_noise, gradient_power, least_norm, lengths
from strategies.shrink import BY_ROW, BY_TENSOR, shrunk
from strategies.weighting import EQUAL, NOISE_AWARE, NOISE_MATCHED, NOISE_TEMPERED, Weighting

SIZE = 16_000


def plan_of(steps: int) -> Plan:
    return replace(PLAN, mechanism=replace(PLAN.mechanism, steps=steps))


def honest(steps: int, ratio: float, seed: int = 0, shape: str = "steady") -> Change:
    """A change of one tensor with a gradient of `ratio` times its noise in every coordinate."""
    size = 1.0 / math.sqrt(SIZE)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (steps, SIZE))
    along = {
        "steady": np.tile(signs[0], (steps, 1)),
        "fading": signs[0] * np.linspace(1.0, 0.0, steps)[:, None],
        "scattered": signs,
    }[shape]
    gradients = [
        {f"{EXPERT}::w": torch.from_numpy((size * row).astype(np.float32)).reshape(-1, 4)} for row in along
    ]
    return change("north", gradients, size / ratio, seed)


def norm(found: Change) -> float:
    return math.sqrt(sum(float(np.square(value, dtype=np.float64).sum()) for value in found.tensors.values()))


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 24])
def test_noise_alone_is_as_long_as_told(steps: int) -> None:
    """Catches a variance that is 4 % off (16,000 values: 2 % is four deviations), and one that hangs on the noise's size."""
    plan = plan_of(steps)
    for ratio in (1e-4, 1e-6):
        found = norm(honest(steps, ratio)) / lengths(plan, [SIZE]).noise[0]
        assert found == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("steps", [1, 2, 8, 24])
@pytest.mark.parametrize("shape", ["steady", "fading", "scattered"])
@pytest.mark.parametrize("ratio", [1e-6, 0.1, 0.5, 2.0, 20.0])
def test_no_honest_change_is_shorter_than_the_least(steps: int, shape: str, ratio: float) -> None:
    """Catches a bound that refuses an honest hospital, whatever its gradient is to its noise."""
    assert norm(honest(steps, ratio, shape=shape)) > least_norm(plan_of(steps), SIZE)


@pytest.mark.parametrize("steps", [2, 8, 24])
def test_free_riders_are_shorter_than_the_least(steps: int) -> None:
    """Catches a bound that lets through who sends again the mean of three hospitals, or a change without noise."""
    plan = plan_of(steps)
    three = [honest(steps, 0.05, seed=seed).tensors["w"] for seed in (1, 2, 3)]
    mean = replace(honest(steps, 0.05), tensors={"w": (three[0] + three[1] + three[2]) / 3})
    assert norm(mean) < least_norm(plan, SIZE)
    assert norm(replace(mean, tensors={"w": 0.1 * mean.tensors["w"]})) < least_norm(plan, SIZE)


def test_a_least_norm_that_few_values_can_not_tell_is_none() -> None:
    """Catches an honest hospital refused for a small expert's scatter."""
    assert least_norm(plan_of(8), 10) == 0.0


@pytest.mark.parametrize(
    ("patients", "agreed", "fits"),
    [
        (1000, None, True),
        (1000, 1000, True),
        (1, None, True),
        (1000, 999, False),
        (1000.5, None, False),
        (0.4, None, False),
        (1e13, None, False),
        (math.inf, None, False),
    ],
)
def test_stated_noise_must_be_that_of_patients(patients: float, agreed: int | None, fits: bool) -> None:
    """Catches a weight that a hospital chose: noise of no whole number of patients, of more than there are, or of none."""
    mechanism = PLAN.mechanism
    std = mechanism.noise_multiplier * mechanism.clip_norm / (mechanism.sampling_rate * patients)
    if fits:
        check_stated(std**2, PLAN, agreed)
    else:
        with pytest.raises(AggregationError):
            check_stated(std**2, PLAN, agreed)


@pytest.fixture(scope="module")
def cosines() -> dict[str, dict[str, float]]:
    """bench.weighting's table, of two repeats: its means scatter by some 0.003."""
    found = {}
    for case in CASES:
        drawn = [changes(case, seed) for seed in (10, 11)]
        found[case.name] = {
            name: sum(cosine(recipe, *one) for one in drawn) / 2 for name, recipe in RECIPES.items()
        }
    return found


def test_matched_weights_win_and_never_lose_one_per_cent(cosines: dict[str, dict[str, float]]) -> None:
    """Catches weights that are worse than none: in no case where noise is as large as the gradient, or larger, do matched
    weights lose 1 % of the cosine that equal ones reach, and where one hospital is large they gain over 10 %. Above the
    noise Adam takes signs, and a cosine with the gradient says little: left out, and told by the bench.
    """
    for name, row in cosines.items():
        if "above the noise" not in name:
            assert row[NOISE_MATCHED] > 0.99 * row[EQUAL], name
            assert row[NOISE_MATCHED] > 0.99 * row[NOISE_AWARE], name
    for name in (
        "one four times the seven others",
        "one large, fifteen small",
        "two, one ten times the other",
    ):
        assert cosines[name][NOISE_MATCHED] > 1.1 * cosines[name][EQUAL], name


def test_tempered_weights_win_and_nowhere_lose_one_per_cent(cosines: dict[str, dict[str, float]]) -> None:
    """Catches a temper that is too weak for signals far above the noise, or so strong that a large hospital counts as a small
    one: in every case of the bench, and in random consortia from drowned to far above, those in which a weaker one lost
    most among them.
    """
    for name, row in cosines.items():
        assert row[NOISE_TEMPERED] > 0.99 * row[EQUAL], name
        if "above the noise" not in name:
            assert row[NOISE_TEMPERED] > 0.8 * row[NOISE_MATCHED], name
    gained = gains((*range(20), 150, 170, 226, 427, 593))
    assert gained[NOISE_TEMPERED].worst > -0.01
    assert gained[NOISE_TEMPERED].mean > 0.01
    assert gained[NOISE_MATCHED].worst < -0.02, "what it is tempered for"


@pytest.mark.parametrize("steps", [2, 8, 24])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 3.0])
def test_a_deltas_length_tells_how_large_the_gradient_is(steps: int, ratio: float) -> None:
    """Catches an estimate in another unit than the stated variance's, or one that goes by the count of values: within a factor
    of three of the steady gradient that the change was made from.
    """
    found, of = honest(steps, ratio), lengths(plan_of(steps), [SIZE])
    power = gradient_power(np.array([norm(found) ** 2]), np.array([found.noise_variance]), of)
    assert 0.3 < power * SIZE < 3.0


def test_one_step_tells_nothing_of_the_gradient() -> None:
    """Catches weights that lean on a gradient's size where Adam's first step, of one length whatever it follows, tells none:
    hospitals whose gradients stand out and differ lost up to a sixth to equal weights.
    """
    found, of = honest(1, 3.0), lengths(plan_of(1), [SIZE])
    power = gradient_power(np.array([norm(found) ** 2]), np.array([found.noise_variance]), of)
    assert math.isinf(power)
    others = [replace(found, noise_variance=found.noise_variance * factor) for factor in (1.0, 100.0)]
    assert [Weighting(NOISE_TEMPERED).of(one, power) for one in others] == [1.0, 1.0]


def test_inverse_variance_loses_where_one_hospital_drowns_many(cosines: dict[str, dict[str, float]]) -> None:
    """Why there are two weightings by noise: inverse variance loses to equal weights what matched weights gain."""
    row = cosines["one four times the thirty others"]
    assert row[NOISE_AWARE] < 0.98 * row[EQUAL]
    assert row[NOISE_MATCHED] > 1.02 * row[EQUAL]


def test_shrinkage_wins_where_the_gradient_lies_in_a_part(cosines: dict[str, dict[str, float]]) -> None:
    """Catches a factor that is not told group by group: a gradient in a fifth of the tensors, or a tenth of the rows."""
    tensors, rows = cosines["a gradient in two tensors of ten"], cosines["a gradient in one row of ten"]
    assert tensors["equal, shrunk by tensor"] > 1.1 * tensors[EQUAL]
    assert rows["equal, shrunk by row"] > 1.1 * rows[EQUAL]
    whole = cosines["eight alike, drowned in noise"]
    assert whole["equal, shrunk by tensor"] > 0.99 * whole[EQUAL], "one factor for all alike turns nothing"


@pytest.mark.parametrize("signal", [0.0, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("by", [BY_TENSOR, BY_ROW])
def test_shrinking_lowers_the_squared_error_whatever_the_signal(signal: float, by: str) -> None:
    """Catches a wrong sign, count or variance: over 2,000 rows of 8, James and Stein's estimator is never worse than
    what it shrinks (to 1 %), and without a signal by tensor it is better by a factor of 20.
    """
    random = np.random.default_rng(3)
    truth = signal * random.normal(size=(2000, 8))
    seen = truth + random.normal(size=truth.shape)
    error = float(np.mean((shrunk(seen, 1.0, by) - truth) ** 2))
    assert error < 1.01
    if signal == 0.0:
        assert error < (0.05 if by == BY_TENSOR else 0.5)


def test_drift_tells_hospitals_that_agree_from_one_that_does_not() -> None:
    """Catches a cosine that noise hides or feigns: signals alike, but one turned round; and noise alone, told as nothing."""
    steps = [{f"{EXPERT}::w": torch.ones(SIZE // 4, 4) / math.sqrt(SIZE)}] * 8
    back = [{name: -value for name, value in one.items()} for one in steps]
    found = [change(name, steps, 1 / math.sqrt(SIZE) / 0.3, seed) for seed, name in enumerate("abcefg")]
    found.append(change("d", back, 1 / math.sqrt(SIZE) / 0.3, 9))
    start = {"w": np.zeros((SIZE // 4, 4), np.float32)}
    drift = aggregate(gather(EXPERT, start, found), Recipe(), PLAN).report.drift
    assert all((drift.hospitals[name].signal_cosine or 0) > 0.5 for name in "abcefg")
    assert (drift.hospitals["d"].signal_cosine or 0) < -0.8
    assert drift.hospitals["d"].cosine is not None
    assert abs(drift.hospitals["d"].cosine) < abs(drift.hospitals["d"].signal_cosine or 0)
    quiet = [replace(honest(8, 1e-6, seed=seed), hospital=str(seed)) for seed in range(4)]
    drift = aggregate(gather(EXPERT, start, quiet), Recipe(), PLAN).report.drift
    assert drift.signal_cosine is None
    assert all(told.norm == pytest.approx(1.0, abs=0.03) for told in drift.hospitals.values())


def test_a_large_experts_drift_is_told_from_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a norm over the whole expert's noise while only a part is measured, and a part that is none or is one tensor:
    what hospitals share lies in the last tensor here. 20 tensors of 2,000 values, of which one in five is measured.
    """
    random = np.random.default_rng(0)
    common = random.normal(size=(500, 4))
    scale = math.sqrt(delta_noise(PLAN).variance)

    def one(name: str) -> Change:
        values = {f"t{at:02}": scale * random.normal(size=(500, 4)) for at in range(20)}
        values["t19"] += 3 * scale * common
        return Change(name, {key: value.astype(np.float32) for key, value in values.items()}, 1.0)

    found = [one(name) for name in "abcd"]
    start = {name: np.zeros(value.shape, np.float32) for name, value in found[0].tensors.items()}
    monkeypatch.setattr("strategies.drift.MEASURED", 8_000)
    drift = aggregate(gather(EXPERT, start, found), Recipe(), PLAN).report.drift
    for told in drift.hospitals.values():  # four tensors, one of ten times the noise's power: sqrt(13 / 4)
        assert told.norm == pytest.approx(math.sqrt(13 / 4), rel=0.1)
        assert (told.signal_cosine or 0) > 0.9

"""The contract of clip_and_sum: its edge cases, its sensitivity, and that our measure sees a breach."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from privacy.clip import Clipped, add, clip_and_sum
from privacy.errors import MechanismError

C = 0.5


def norm(tensors: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors.values()))


def gradients(patients: int, scale: float = 1.0, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (3, 4), "b": (7,), "c": ()}
    return {
        name: scale * torch.randn((patients, *shape), generator=generator) for name, shape in shapes.items()
    }


def test_a_small_gradient_is_kept_as_it_is() -> None:
    """Catches a clip that scales what needs no scaling."""
    one = gradients(1, scale=1e-3)
    total = clip_and_sum(one, C).total
    for name, gradient in one.items():
        torch.testing.assert_close(total[name], gradient[0].double(), rtol=0, atol=0)


def test_a_large_gradient_is_scaled_to_c_over_all_tensors_together() -> None:
    """Catches clipping each tensor apart, whose joint norm is sqrt(n) C."""
    one = gradients(1, scale=1e3)
    total = clip_and_sum(one, C).total
    assert C * (1 - 1e-6) < norm(total) <= C
    ratio = {name: (total[name] / gradient[0]).flatten() for name, gradient in one.items()}
    torch.testing.assert_close(ratio["a"], ratio["a"][0].expand(12), rtol=1e-9, atol=0)
    torch.testing.assert_close(ratio["b"][0], ratio["a"][0], rtol=1e-9, atol=0)


def test_a_zero_gradient_contributes_exactly_zero() -> None:
    """Catches 0/0 in the scale."""
    assert norm(clip_and_sum({"a": torch.zeros(4, 3)}, C).total) == 0.0


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_non_finite_patient_contributes_exactly_zero_everywhere(bad: float) -> None:
    """Catches 0 * inf = NaN, and a patient whose other tensors still count."""
    three = gradients(3, scale=10.0)
    three["b"][1, 2] = bad
    others = {name: gradient[[0, 2]] for name, gradient in three.items()}
    total, expected = clip_and_sum(three, C).total, clip_and_sum(others, C).total
    for name in three:
        torch.testing.assert_close(total[name], expected[name], rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_neither_overflows_nor_loses_the_bound(dtype: torch.dtype) -> None:
    """Catches squares summed in half precision: 6e4 squared is over float16's largest number."""
    large = {"a": torch.full((1, 1000), 6e4, dtype=dtype)}
    total = clip_and_sum(large, C).total
    assert total["a"].dtype == torch.float64
    assert C * (1 - 1e-6) < norm(total) <= C


def test_squares_beyond_float32_are_clipped_not_dropped() -> None:
    """Catches a norm computed in float32, where 1e30 squared is infinite."""
    assert norm(clip_and_sum({"a": torch.full((1, 8), 1e30)}, C).total) == pytest.approx(C)


def test_an_empty_draw_gives_a_zero_sum_with_full_sensitivity() -> None:
    """Catches a step that would be skipped, or left without noise, when no patient was drawn."""
    clipped = clip_and_sum(gradients(0), C)
    assert {name: total.shape for name, total in clipped.total.items()} == {"a": (3, 4), "b": (7,), "c": ()}
    assert norm(clipped.total) == 0.0
    assert clipped.sensitivity == C


@pytest.mark.parametrize(
    ("bad", "clip_norm", "message"),
    [
        ({}, C, "no gradients"),
        ({"a": torch.ones(2, 3), "b": torch.ones(3, 3)}, C, "number of patients"),
        ({"a": torch.tensor(1.0)}, C, "first axis"),
        ({"a": torch.ones(2, 3)}, 0.0, "clip_norm"),
        ({"a": torch.ones(2, 3)}, math.inf, "clip_norm"),
        ({"a": torch.ones(2, 3)}, math.nan, "clip_norm"),
    ],
)
def test_what_has_no_bound_is_refused(bad: dict[str, Tensor], clip_norm: float, message: str) -> None:
    """Catches a sum that would leave with a bound that it does not have."""
    with pytest.raises(MechanismError, match=message):
        clip_and_sum(bad, clip_norm)


def test_micro_batches_add_up_to_the_whole_draw() -> None:
    """Catches accumulation that clips again, or doubles the sensitivity that noise is calibrated to."""
    whole = gradients(7, scale=2.0)
    parts = [clip_and_sum({n: g[s] for n, g in whole.items()}, C) for s in (slice(0, 3), slice(3, 7))]
    together, direct = add(*parts), clip_and_sum(whole, C)
    assert together.sensitivity == direct.sensitivity == C
    for name in whole:
        torch.testing.assert_close(together.total[name], direct.total[name])


def test_unlike_micro_batches_are_refused() -> None:
    """Catches sums over other parameters or other clip norms, whose joint bound is neither's."""
    one = clip_and_sum({"a": torch.ones(2, 3)}, C)
    with pytest.raises(MechanismError, match="clipped to"):
        add(one, clip_and_sum({"a": torch.ones(2, 3)}, 2 * C))
    with pytest.raises(MechanismError, match="different parameters"):
        add(one, clip_and_sum({"b": torch.ones(2, 3)}, C))
    with pytest.raises(MechanismError, match="different parameters"):
        add(one, clip_and_sum({"a": torch.ones(2, 4)}, C))


def test_the_gradients_are_left_as_they_were() -> None:
    """Catches a clip that writes into the caller's tensors."""
    two = {"a": torch.tensor([[1e9, math.nan], [3.0, 4.0]], dtype=torch.float64)}
    before = two["a"].clone()
    clip_and_sum(two, C)
    assert torch.equal(two["a"].nan_to_num(), before.nan_to_num())


def test_nobody_else_makes_a_clipped() -> None:
    """Catches a sum that was never bounded and is handed on as if it were."""
    with pytest.raises(MechanismError, match="clip_and_sum"):
        Clipped({"a": torch.ones(3)}, C, made_by=None)


# Sensitivity, measured: ||f(D + p) - f(D)|| / C for a function f of per-sample gradients, patient by patient.

Patients = list[Tensor]  # one [samples, parameters] tensor a patient
Mechanism = Callable[[Patients], Tensor]


def ours(patients: Patients) -> Tensor:
    rows = torch.stack([samples.mean(0) for samples in patients]) if patients else torch.zeros(0, 6)
    total = clip_and_sum({"a": rows[:, :2], "b": rows[:, 2:]}, C).total
    return torch.cat([total["a"], total["b"]])


def _clip(rows: Tensor, to: float | Tensor = C) -> Tensor:
    return rows * torch.clamp(to / rows.norm(dim=1, keepdim=True).clamp_min(1e-12), max=1.0)


def per_sample_clip(patients: Patients) -> Tensor:
    return _clip(torch.cat([torch.zeros(1, 6), *patients])).sum(0)


def per_tensor_clip(patients: Patients) -> Tensor:
    rows = torch.stack([torch.zeros(6), *[samples.mean(0) for samples in patients]])
    return torch.cat([_clip(rows[:, :2]), _clip(rows[:, 2:4]), _clip(rows[:, 4:])], dim=1).sum(0)


def realised_mean(patients: Patients) -> Tensor:
    rows = torch.stack([torch.zeros(6), *[samples.mean(0) for samples in patients]])
    return 8 * _clip(rows).sum(0) / max(len(patients), 1)  # 8: the public number


def median_clip(patients: Patients) -> Tensor:
    rows = torch.stack([torch.zeros(6), *[samples.mean(0) for samples in patients]])
    return _clip(rows, to=rows.norm(dim=1).median()).sum(0) * C / 3.0


def worst(mechanism: Mechanism) -> float:
    """The largest move found when one patient, adversarial or not, joins cohorts of nought to eight."""
    generator = torch.Generator().manual_seed(1)
    cohorts = [[3.0 * torch.randn(4, 6, generator=generator) for _ in range(n)] for n in range(9)]
    joining = [
        torch.ones(16, 6),
        1e6 * torch.ones(16, 6),
        torch.randn(16, 6, generator=generator),
        torch.zeros(1, 6),
    ]
    moves = [(mechanism([*cohort, new]) - mechanism(cohort)).norm() for cohort in cohorts for new in joining]
    return float(max(moves)) / C


def test_one_patient_moves_the_sum_by_at_most_c() -> None:
    """Catches any dependence of a patient's part on the others or on how many there are."""
    assert worst(ours) <= 1.0


@pytest.mark.parametrize("variant", [per_sample_clip, per_tensor_clip, realised_mean, median_clip])
def test_the_measure_sees_each_known_breach(variant: Mechanism) -> None:
    """The test above has power: four published mistakes measure over 1.05."""
    assert worst(variant) > 1.05

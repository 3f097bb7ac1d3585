"""The self-test's judgement, on figures of which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.selftest.distinguishing import distinguishing_findings
from privacy.selftest.noise import LEVEL, power, repeat_findings, scale_findings
from privacy.selftest.sensitivity import Movement, distance, sensitivity_findings
from privacy.selftest.verdict import Check, Finding, Verdict

SIZES = {"a": 64, "b": 400, "c": 400}


def releases(count: int, seed: int = 0) -> list[dict[str, NDArray[np.float64]]]:
    random = np.random.default_rng(seed)
    return [{name: random.standard_normal(size) for name, size in SIZES.items()} for _ in range(count)]


def times(factors: dict[str, float]) -> list[dict[str, NDArray[np.float64]]]:
    return [{n: v * factors.get(n, 1.0) for n, v in release.items()} for release in releases(10)]


def test_right_noise_gives_no_finding() -> None:
    """Catches a check that cries wolf: a hundred right installations, none found fault with."""
    for seed in range(100):
        right = releases(4, seed)
        assert scale_findings(right, "sft") == []
        assert repeat_findings({str(i): r for i, r in enumerate(right)}) == []


@pytest.mark.parametrize(
    "factors", [{"a": 2 / 3}, {"b": 1.5}, {"c": 0.0}, {"a": 0.5, "b": 0.5, "c": 0.5}, {"b": 40}]
)
def test_each_tensor_with_other_noise_is_named(factors: dict[str, float]) -> None:
    """Catches noise that is missing or too weak or too strong in one tensor, hidden by the others."""
    found = scale_findings(times(factors), "sft")
    assert [finding.where for finding in found] == [f"sft, {name}" for name in factors]
    assert {finding.check for finding in found} == {Check.NOISE_SCALE}


def test_a_tensor_that_a_release_lacks_is_named() -> None:
    """Catches a tensor that some releases leave out."""
    held = releases(3)
    del held[1]["b"]
    assert [finding.where for finding in scale_findings(held, "grpo")] == ["grpo, b"]


def test_values_that_are_no_numbers_are_found() -> None:
    """Catches a comparison that NaN slips through."""
    assert len(scale_findings(times({"a": float("nan")}), "sft")) == 1


@pytest.mark.parametrize("ratio", [2 / 3, 3 / 2])
def test_the_stated_power_is_the_power(ratio: float) -> None:
    """Catches a power that is claimed and not had: counted over 400 tries, within five standard errors.

    With 90 values the power lies well between none and all, where a slip would show.
    """
    random, values = np.random.default_rng(7), 90
    stated = power(values, ratio, 1)
    tries = [{"a": ratio * random.standard_normal(values)} for _ in range(400)]
    seen = np.mean([bool(scale_findings([one], "sft")) for one in tries])
    assert 0.02 < stated < 0.98
    assert abs(seen - stated) < 5 * (stated * (1 - stated) / 400) ** 0.5


def test_power_at_the_right_scale_is_the_level() -> None:
    """Catches a level other than the one that is stated."""
    assert power(500, 1.0, 1) == pytest.approx(LEVEL, rel=1e-3)


def repeated(kind: str) -> dict[str, dict[str, NDArray[np.float64]]]:
    held = dict(zip(("one", "two", "three"), releases(3), strict=True))
    match kind:
        case "across releases":
            held["three"]["b"] = held["one"]["b"].copy()
        case "across tensors":
            held["two"]["c"] = held["two"]["b"] * 1.01
        case "with the other sign":
            held["two"]["b"] = -held["one"]["c"]
    return held


@pytest.mark.parametrize("kind", ["across releases", "across tensors", "with the other sign"])
def test_noise_that_comes_twice_is_found(kind: str) -> None:
    """Catches a fixed seed, one draw for two tensors, and noise used again with a sign or a scale."""
    found = repeat_findings(repeated(kind))
    assert [finding.check for finding in found] == [Check.NOISE_REPEATS]


def test_no_noise_at_all_is_no_repeat() -> None:
    """Catches a division by zero: silence is the other check's to find."""
    silence = {name: {"a": np.zeros(64)} for name in ("one", "two")}
    assert repeat_findings(silence) == []


def test_a_distance_is_over_all_tensors_and_never_hides_nan() -> None:
    """Catches a norm tensor by tensor, and a NaN that passes as no movement."""
    a = {"x": np.array([3.0, 0.0]), "y": np.array([[4.0]])}
    zero = {name: np.zeros_like(value) for name, value in a.items()}
    assert distance(a, zero) == 5.0
    assert distance({**a, "y": np.array([[np.nan]])}, zero) == np.inf
    with pytest.raises(ValueError, match="same parameters"):
        distance(a, {"x": a["x"]})


@pytest.mark.parametrize(
    ("shares", "found"),
    [
        ([1.0, 0.5], []),
        ([1.0005], []),
        ([1.0, 1.02], ["case 1"]),
        ([1.0, float("inf")], ["case 1"]),
        ([1.0, float("nan")], ["case 1"]),
        ([0.2, 0.0], ["all"]),
        ([], ["all"]),
    ],
)
def test_movements_are_judged(shares: list[float], found: list[str]) -> None:
    """Catches a breach that rounding forgives, a NaN that compares as small, and a test that moved nobody."""
    movements = [Movement(f"case {i}", share) for i, share in enumerate(shares)]
    assert [finding.where for finding in sensitivity_findings(movements)] == found


def test_distinguishing_finds_what_is_beyond_the_claim_only() -> None:
    """Catches a bound compared the wrong way round: no noise is found, right noise is not."""
    random = np.random.default_rng(3)
    loud = [(1 + s * random.standard_normal(120)).tolist() for s in (0.01, 2.0)]
    absent = [(s * random.standard_normal(120)).tolist() for s in (0.01, 2.0)]
    bound, found = distinguishing_findings(loud[0], absent[0], 0.5, 1e-5, 2.0, "canary")
    assert bound > 8
    assert [finding.check for finding in found] == [Check.DISTINGUISHING]
    bound, found = distinguishing_findings(loud[1], absent[1], 0.5, 1e-5, 2.0, "canary")
    assert bound < 1
    assert found == []


def test_a_verdict_names_each_check_once() -> None:
    """Catches a ledger entry that holds more than names, and a failed test that reads as passed."""
    finding = Finding(Check.NOISE_SCALE, "sft, a", "noise is 0.5 times what was promised")
    verdict = Verdict("0" * 64, (finding, finding), {})
    assert verdict.to_body() == {"passed": False, "code": "0" * 64, "findings": ["noise-scale"]}
    assert Verdict("0" * 64, (), {}).passed

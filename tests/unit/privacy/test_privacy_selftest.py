"""The self-test's judgement, on figures of which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.selftest import sampling
from privacy.selftest.distinguishing import CONFIDENCE, distinguishing_findings
from privacy.selftest.noise import (
    LEVEL,
    pooled_findings,
    power,
    repeat_findings,
    scale_findings,
    value_findings,
)
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
        assert pooled_findings(right, "sft") == []
        assert value_findings(right, "sft") == []
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
    spoilt = times({"a": float("nan")})
    assert len(scale_findings(spoilt, "sft")) == 1
    assert len(pooled_findings(spoilt, "sft")) == 1
    assert [finding.where for finding in value_findings(spoilt, "sft")] == ["sft, a, one value"]


@pytest.mark.parametrize("ratio", [0.95, 1.05])
def test_noise_five_per_cent_off_is_seen_over_all_tensors(ratio: float) -> None:
    """Catches a small fault that no tensor shows by itself.

    Over 50,000 values the statistic's spread is 0.6 % of its mean: 5 % are beyond the limit with chance > 1 - 1e-9.
    """
    held = [{str(n): np.random.default_rng(n).standard_normal(100) * ratio for n in range(500)}]
    assert scale_findings(held, "sft") == []
    (found,) = pooled_findings(held, "sft")
    assert found.where == "sft, all tensors"


@pytest.mark.parametrize("factor", [0.0, 0.25, 2.5])
def test_one_value_of_other_noise_is_named(factor: float) -> None:
    """Catches noise that one value lacks, in the midst of others that have it."""
    held = releases(120)
    for release in held:
        release["b"][17] *= factor
    (found,) = value_findings(held, "sft")
    assert found.where == "sft, b, one value"
    assert found.what.startswith("1 of 400 values")


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


def test_the_levels_add_up_to_what_is_stated() -> None:
    """Catches a self-test that fails right installations more often than docs/selftest.md says: 2.8 in a million."""
    calls = 5 + 5 + 1 + 1  # scale and pooled: two stages, two long rounds, nobody; single values; repeats
    total = (1 - CONFIDENCE) + calls * LEVEL + sampling.TESTS * sampling.LEVEL
    assert total == pytest.approx(2.8e-6)


def repeated(kind: str) -> dict[str, dict[str, NDArray[np.float64]]]:
    held = dict(zip(("one", "two", "three"), releases(3), strict=True))
    match kind:
        case "across releases":
            held["three"]["b"] = held["one"]["b"].copy()
        case "across tensors":
            held["two"]["c"] = held["two"]["b"] * 1.01
        case "with the other sign":
            held["two"]["b"] = -held["one"]["c"]
        case "in part":
            held["two"]["b"] = 0.6 * held["two"]["b"] + 0.8 * held["one"]["c"]
        case "of another size":
            held["one"]["a"] = held["three"]["c"][:64].copy()
        case "of another size, in part":
            held["one"]["d"] = np.random.default_rng(9).standard_normal(900)
            held["one"]["c"] = 0.6 * held["one"]["c"] + 0.8 * held["one"]["d"][:400]
    return held


@pytest.mark.parametrize(
    "kind",
    [
        "across releases",
        "across tensors",
        "with the other sign",
        "in part",
        "of another size",
        "of another size, in part",
    ],
)
def test_noise_that_comes_twice_is_found(kind: str) -> None:
    """Catches a fixed seed, one draw for two tensors, and noise used again with a sign, a scale, or in part."""
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


@pytest.mark.parametrize(
    ("others", "found"),
    [(0.0, []), (0.05, []), (0.2, ["b"]), (float("inf"), ["b"]), (float("nan"), ["b"])],
)
def test_a_change_of_the_others_part_is_judged(others: float, found: list[str]) -> None:
    """Catches a patient who changes what the others add, within what the clip allows."""
    movements = [Movement("a", 1.0), Movement("b", 0.5, others)]
    judged = sensitivity_findings(movements)
    assert [finding.where for finding in judged] == found
    assert all(finding.check == Check.INDEPENDENCE for finding in judged)


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
    assert verdict.to_body() == {
        "passed": False,
        "code": "0" * 64,
        "findings": ["noise-scale"],
        "bound": None,
    }
    assert Verdict("0" * 64, (), {}).passed

"""The server's step on a sum: Adam as the reference has it, and as a hospital takes it in local mode."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from privacy import tensors
from privacy.plan import Plan
from privacy.secagg.grid import to_words
from server.campaign import Train, plan_for
from strategies.errors import AggregationError
from strategies.intake import Aggregated
from strategies.optimiser import ADAM, Optimiser, save
from strategies.summed import check_memories, divisor, layout_of, stepped
from tests.federation.simulator import initial
from tests.federation.test_sums import STAGE, SUMMING, TERMS

HOSPITALS = ("east", "north", "south")
RATE, BETA1, BETA2, TINY = STAGE.learning_rate, 0.9, 0.999, 1e-8
SIZES = (1.0, 1e-3, 30.0, 1e-2, 0.0, 2.0, 1e-4, 5.0)  # of the rounds' means


def plan_of(number: int, states: Mapping[str, bytes]) -> Plan:
    """The plan of a round that starts from these states."""
    hashes = {name: tensors.digest(data) for name, data in states.items()}
    return plan_for(SUMMING, Train(number, number, STAGE), hashes)


def rounds(sums: list[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
    """All numbers of the trained experts after each of the rounds whose whole sums these are."""
    states, memories, found = initial(), dict[str, bytes](), []
    for number, whole in enumerate(sums, start=1):
        plan = plan_of(number, states)
        noise = TERMS.noise(plan.mechanism, layout_of(plan, states).size)
        words = to_words(whole, 64)
        made = stepped(plan, states, memories, words, noise, HOSPITALS, SUMMING.patients)
        states = states | {name: aggregated.state for name, aggregated in made.items()}
        memories = {name: aggregated.memory for name, aggregated in made.items() if aggregated.memory}
        layout = layout_of(plan, states)
        values = {
            (expert, tensor): value.astype(np.float64)
            for expert in plan.experts
            for tensor, value in tensors.decode(states[expert], 1 << 20).items()
        }
        found.append(layout.flat(values))
    return found


def drawn() -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """Sums of rounds of very different size, on the grid, and the means that they stand for."""
    random = np.random.default_rng(3)
    size = layout_of(plan_of(1, initial()), initial()).size
    whole = [np.rint(random.normal(size=size) * each * 1e4).astype(np.int64) for each in SIZES]
    by = divisor(plan_of(1, initial()), SUMMING.patients, HOSPITALS)
    return whole, [each * TERMS.grid_step / by for each in whole]


def test_every_step_is_the_references() -> None:
    """Catches moments whose bias stays on (from the second step on a step would be up to twice as long), a count of
    steps that is lost or starts elsewhere, and constants that are not the hospitals' own.
    """
    whole, means = drawn()
    first = second = np.zeros_like(means[0])
    value = np.full_like(means[0], 0.25)
    theirs = torch.full((len(value),), 0.25, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([theirs], RATE)  # the constants of privacy.descent
    for step, (got, mean) in enumerate(zip(rounds(whole), means, strict=True), start=1):
        first = BETA1 * first + (1 - BETA1) * mean  # Kingma and Ba, arXiv 1412.6980, algorithm 1
        second = BETA2 * second + (1 - BETA2) * mean**2
        spread = np.sqrt(second / (1 - BETA2**step)) + TINY
        value = value - RATE * first / (1 - BETA1**step) / spread
        theirs.grad = torch.from_numpy(mean.copy())
        adam.step()
        np.testing.assert_allclose(theirs.detach().numpy(), value, rtol=0, atol=1e-12)
        np.testing.assert_allclose(got, value, rtol=0, atol=2e-7)  # of steps of 1e-2, in float32


def test_the_same_sums_give_the_same_bits() -> None:
    """Catches a step that hangs on anything but sums, states and memories: a replay would differ."""
    whole, _ = drawn()
    for one, other in zip(rounds(whole), rounds(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_hospitals_come_and_go_and_their_order_is_nothing() -> None:
    """Catches a sum divided by hospitals that are not in it, a step that hangs on their order, inputs that are written to, and
    an expert that the plan does not train.
    """
    states = initial()
    plan = plan_of(1, states)
    layout = layout_of(plan, states)
    noise = TERMS.noise(plan.mechanism, layout.size)
    whole = np.random.default_rng(1).integers(-(10**5), 10**5, layout.size)
    before = dict(states)

    def after(*hospitals: str) -> dict[str, Aggregated]:
        return stepped(plan, states, {}, to_words(whole, 64), noise, hospitals, SUMMING.patients)

    everyone, fewer = after(*HOSPITALS), after(*HOSPITALS[:2])
    assert set(everyone) == set(plan.experts) < set(states)
    assert states == before
    for order in itertools.permutations(HOSPITALS):
        assert {name: (found.state, found.memory) for name, found in after(*order).items()} == {
            name: (found.state, found.memory) for name, found in everyone.items()
        }
    for name, found in fewer.items():
        assert found.memory is not None
        theirs, all_of_them = (
            tensors.decode(memory, 1 << 24) for memory in (found.memory, everyone[name].memory or b"")
        )
        ratio = divisor(plan, SUMMING.patients, HOSPITALS) / divisor(plan, SUMMING.patients, HOSPITALS[:2])
        assert ratio > 1.1
        for key in theirs:
            power = {"steps": 0, "first": 1, "second": 2}[key.partition("/")[0]]
            np.testing.assert_allclose(theirs[key], ratio**power * all_of_them[key], rtol=1e-5, atol=1e-12)


def test_moments_without_their_count_are_refused_before_anybody_pays() -> None:
    """Catches a campaign begun under another optimiser that is found out only once hospitals have masked and paid."""
    states = initial()
    plan = plan_of(1, states)
    check_memories(plan, states, {})
    start = tensors.decode(states["scale/roi"], 1 << 20)
    other = save(Optimiser(ADAM).begin(start))
    with pytest.raises(AggregationError, match="not that of this optimiser"):
        check_memories(plan, states, {"scale/roi": other})
    with pytest.raises(AggregationError, match="can't be read"):
        check_memories(plan, states, {"scale/roi": b"x"})


@pytest.mark.parametrize("steps", [1, 2, 1000, 10**6])
def test_the_corrected_rate_is_positive_and_settles(steps: int) -> None:
    """Catches a correction that divides by zero or is gone for good: late steps are those of plain Adam."""
    plain = Optimiser(ADAM, 0.01, 0.9, 0.999, 1e-8)
    found = plain.corrected(steps)
    assert replace(found, learning_rate=0.01, tau=1e-8) == plain
    if steps == 10**6:
        assert (found.learning_rate, found.tau) == pytest.approx((0.01, 1e-8))

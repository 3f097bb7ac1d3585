"""What every way to aggregate an expert must hold to, whatever its rule, weights, shrinkage and server optimiser."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy import tensors
from strategies import gathered as blocks
from strategies import optimiser
from strategies.aggregate import Aggregate, aggregate
from strategies.errors import AggregationError
from strategies.gathered import State, gather
from tests.aggregation_cases import (
    CASES,
    EXPERT,
    MANY,
    NAMES,
    PLAN,
    Case,
    Told,
    campaign,
    fixed,
    nothing,
    round_of,
    start,
    told,
)

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
ROUNDS = (
    round_of(1),
    round_of(2, NAMES[:5]),  # two hospitals are away
    [],  # all are
    round_of(3, NAMES[3:5]),  # too few for some rules
    round_of(4),
    round_of(5, MANY),
)


def run(
    case: Case, state: State, changes: Sequence[Told], memory: optimiser.Memory | None = None
) -> Aggregate:
    return aggregate(gather(EXPERT, state, changes), case.recipe, PLAN, memory)


def told_bytes(found: Aggregate) -> tuple[bytes, bytes, object]:
    """All that a round makes of an expert, to the last bit."""
    return tensors.encode(found.state), optimiser.save(found.memory), found.report.to_dict()


@every_case
def test_the_order_of_hospitals_does_not_matter_to_the_last_bit(case: Case) -> None:
    """Catches sums in the order of arrival: a replay could not give the same bytes, nor could a second attempt."""
    changes = round_of(1)
    wanted = told_bytes(run(case, start(), changes))
    for order in itertools.islice(itertools.permutations(changes), 0, None, 701):
        assert told_bytes(run(case, start(), order)) == wanted


@every_case
def test_agrees_with_a_plain_calculation_in_float64(case: Case) -> None:
    """Catches a wrong divisor, neighbour, middle or moment, over rounds in which hospitals come and go. The error of all values
    is measured against what changed, which a state of ones would hide.
    """
    state, memory = nothing(), None
    for changes in ROUNDS:
        found = run(case, state, changes, memory)
        state, memory = found.state, found.memory
    for name, wanted in campaign(case, ROUNDS, nothing()).items():
        assert state[name].dtype == np.float32
        assert np.linalg.norm(state[name] - wanted) <= 1e-6 * np.linalg.norm(wanted), name


@every_case
def test_a_change_is_added_to_what_was(case: Case) -> None:
    """Catches a change that takes the state's place, or is added twice."""
    found = run(case, start(), ROUNDS[0]).state
    for name, wanted in campaign(case, ROUNDS[:1], start()).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-6, atol=1e-6)


@every_case
def test_one_hospital_alone(case: Case) -> None:
    """What is meant by it stands in the table: its own change, or nothing where the rule needs more hospitals; with a shrinkage
    or an optimiser, what these make of its own change.
    """
    (change,) = changes = [told("north", 5, 0.005)]
    state = start()
    found = run(case, state, changes)
    if case.alone == "kept":
        assert found.report.too_few
        assert found.state is state
        return
    if case.alone == "its":
        for name, value in found.state.items():
            np.testing.assert_allclose(value, state[name] + change.tensors[name], rtol=1e-6, atol=1e-7)
    for name, wanted in campaign(case, [changes], state).items():
        np.testing.assert_allclose(found.state[name], wanted, rtol=1e-6, atol=1e-7)


@every_case
def test_an_expert_that_nobody_trained_stays_as_it_was(case: Case) -> None:
    """Catches a division by nothing, and an optimiser that drifts on by its momentum."""
    before = run(case, start(), round_of(1))
    after = run(case, before.state, [], before.memory)
    assert after.state is before.state
    assert after.memory is before.memory


@every_case
def test_goes_on_from_what_was_saved_with_the_same_bits(case: Case) -> None:
    """Catches memory that is kept more exactly in the process than in the store: a restart would change the campaign."""
    straight, restarted = run(case, start(), ROUNDS[0]), run(case, start(), ROUNDS[0])
    for changes in ROUNDS[1:]:
        straight = run(case, straight.state, changes, straight.memory)
        state = tensors.decode(tensors.encode(restarted.state), 10**6)
        memory = case.recipe.optimiser.load(optimiser.save(restarted.memory), state, 10**6)
        restarted = run(case, state, changes, memory)
    assert told_bytes(straight) == told_bytes(restarted)


@every_case
@pytest.mark.parametrize(
    "odd",
    [
        replace(told("odd", 1), expert="scale/wsi"),
        replace(told("odd", 1), tensors={"tall": fixed(np.zeros((40, 4)))}),
        replace(told("odd", 1), tensors={**told("odd", 1).tensors, "tall": fixed(np.zeros((4, 40)))}),
        replace(told("odd", 1), tensors={**told("odd", 1).tensors, "more": fixed(0.0)}),
        told("north", 9),
    ],
    ids=["another expert", "tensors missing", "another shape", "a tensor more", "a second of one hospital"],
)
def test_what_does_not_fit_is_refused(case: Case, odd: Told) -> None:
    """Catches broadcasting of a misshapen release, and a hospital that counts twice."""
    with pytest.raises(AggregationError):
        run(case, start(), [*round_of(1), odd])


@every_case
def test_inputs_are_left_as_they_are(case: Case) -> None:
    """Catches sorting in place and shared state: the arrays of the cases can't be written to, and memory is compared."""
    before = run(case, start(), round_of(1))
    kept = optimiser.save(before.memory)
    for value in before.state.values():
        value.flags.writeable = False
    again = [run(case, before.state, round_of(2), before.memory) for _ in range(2)]
    assert optimiser.save(before.memory) == kept
    assert told_bytes(again[0]) == told_bytes(again[1])


class Drawn(Told):
    """A contribution that is drawn anew whenever it is read, so that the test itself holds none."""

    def rows(self, tensor: str, start: int, stop: int) -> NDArray[np.float32]:
        value = super().rows(tensor, start, stop)
        return value + np.float32(1e-3 * len(self.hospital))


@every_case
def test_memory_does_not_grow_with_the_number_of_hospitals(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a rule that holds all releases at once: 96 hospitals' would take 24 MiB more than 8 hospitals', of which
    everyone but the rule holds one copy here.
    """
    monkeypatch.setattr(blocks, "STACK_BYTES", 1 << 18)
    shared = {"w": fixed(np.random.default_rng(0).normal(0, 0.005, (1 << 14, 4)))}
    state = {"w": fixed(np.zeros((1 << 14, 4)))}
    recipe = replace(
        case.recipe,
        weighting=replace(case.recipe.weighting, declared=dict.fromkeys(map(str, range(96)), 1.0)),
    )
    peaks = []
    for count in (8, 96):
        changes = [Drawn(str(number), shared) for number in range(count)]
        tracemalloc.start()
        aggregate(gather(EXPERT, state, changes), recipe, PLAN)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 4 * blocks.STACK_BYTES, f"{peaks} bytes with 8 and with 96 hospitals"

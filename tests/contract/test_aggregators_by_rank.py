"""What every way to aggregate an expert must hold to where hospitals have different ranks in it."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from privacy import tensors
from privacy.ranks import is_b
from strategies import gathered as blocks
from strategies import optimiser, shrink
from strategies.aggregate import MULTI_KRUM, Recipe, aggregate
from strategies.errors import AggregationError
from strategies.gathered import State, gather
from tests.aggregation_cases import CASES, EXPERT, NAMES, PLAN, Case, Told, campaign, fixed, round_of, start
from tests.contract.test_aggregators import Drawn, run, told_bytes

BY_COLUMNS = [case for case in CASES if case.recipe.combining.by_columns]
every_case = pytest.mark.parametrize("case", BY_COLUMNS, ids=lambda case: case.name)
RANKS = dict(zip(NAMES, (8, 2, 4, 8, 2, 4, 8), strict=True))


def mixed(seed: int, names: Sequence[str] = NAMES) -> list[Told]:
    """A round of hospitals of ranks 2, 4 and 8 (the expert's)."""
    return [change.of_rank(RANKS[change.hospital]) for change in round_of(seed, names)]


ROUNDS = (
    mixed(1),
    mixed(2, ("north", "west", "north-2", "a")),  # nobody of rank 8
    mixed(3, ("north", "west", "a")),  # one of rank 4: too few for some rules
    round_of(4),  # all train the whole expert
    [change.of_rank(2) for change in round_of(5)],
    [],
    mixed(6),
)


def test_all_rules_but_multi_krum_are_here() -> None:
    """Catches a rule that stopped taking lower ranks, and so fell out of the table."""
    assert {case.name for case in CASES} - {case.name for case in BY_COLUMNS} == {"multi-krum"}


@every_case
def test_agrees_with_a_plain_calculation_in_float64(case: Case) -> None:
    """Catches a column that is divided by those who do not train it, and moments of columns that were left out."""
    state, memory = start(), None
    for changes in ROUNDS:
        found = run(case, state, changes, memory)
        state, memory = found.state, found.memory
    for name, wanted in campaign(case, ROUNDS, start()).items():
        assert state[name].dtype == np.float32
        np.testing.assert_allclose(state[name], wanted, rtol=1e-6, atol=1e-6)


@every_case
def test_the_order_of_hospitals_does_not_matter_to_the_last_bit(case: Case) -> None:
    """Catches columns counted for the hospital that came at that place, and not for the one that trained them."""
    changes = mixed(1)
    wanted = told_bytes(run(case, start(), changes))
    for order in itertools.islice(itertools.permutations(changes), 0, None, 701):
        assert told_bytes(run(case, start(), order)) == wanted


@every_case
def test_one_hospital_alone_changes_its_columns_and_no_others(case: Case) -> None:
    """Catches columns that nobody trained and that are taken for zeros, or drift on by their momentum."""
    before = run(case, start(), round_of(1))
    (change,) = changes = [round_of(2)[0].of_rank(4)]
    after = run(case, before.state, changes, before.memory)
    if case.alone == "kept":
        assert after.state is before.state
        return
    for name in filter(is_b, before.state):
        assert after.state[name][:, 4:].tobytes() == before.state[name][:, 4:].tobytes()
        if case.alone == "its":
            its = before.state[name][:, :4] + change.tensors[name]
            np.testing.assert_allclose(after.state[name][:, :4], its, rtol=1e-6, atol=1e-7)
        elif case.recipe.shrinkage == shrink.NONE:  # which may leave nothing of one hospital's
            assert np.any(after.state[name][:, :4] != before.state[name][:, :4])
    for name in filter(is_b, before.memory):
        assert after.memory[name][:, 4:].tobytes() == before.memory[name][:, 4:].tobytes()
        assert np.all(after.memory[name][:, :4] != before.memory[name][:, :4])


def test_columns_that_too_few_train_for_the_rule_stay_as_they_were() -> None:
    """Catches a trimmed mean of two, of which one may be hostile, where the rule needs three; and moments that move."""
    recipe = Recipe("trimmed-mean", hostile=1, optimiser=optimiser.Optimiser(optimiser.ADAM, 0.01))
    begun = aggregate(gather(EXPERT, start(), round_of(1)), recipe, PLAN)
    changes = mixed(2, ("east", "north", "north-2", "a"))  # 8, 2, 4, 4: three train the first four columns
    after = aggregate(gather(EXPERT, begun.state, changes), recipe, PLAN, begun.memory)
    for name in filter(is_b, begun.state):
        moved = [np.any(after.state[name][:, i] != begun.state[name][:, i]) for i in range(8)]
        assert moved == [True] * 4 + [False] * 4
    for name in filter(is_b, begun.memory):
        assert after.memory[name][:, 4:].tobytes() == begun.memory[name][:, 4:].tobytes()


@every_case
def test_goes_on_from_what_was_saved_with_the_same_bits(case: Case) -> None:
    """Catches memory of columns that the store does not hold, or holds otherwise."""
    straight, restarted = run(case, start(), ROUNDS[0]), run(case, start(), ROUNDS[0])
    for changes in ROUNDS[1:]:
        straight = run(case, straight.state, changes, straight.memory)
        state = tensors.decode(tensors.encode(restarted.state), 10**6)
        memory = case.recipe.optimiser.load(optimiser.save(restarted.memory), state, 10**6)
        restarted = run(case, state, changes, memory)
    assert told_bytes(straight) == told_bytes(restarted)


@every_case
def test_inputs_are_left_as_they_are(case: Case) -> None:
    """Catches columns written into the state or the memory that was handed in."""
    before = run(case, start(), round_of(1))
    kept = optimiser.save(before.memory)
    for value in before.state.values():
        value.flags.writeable = False
    again = [run(case, before.state, mixed(2), before.memory) for _ in range(2)]
    assert optimiser.save(before.memory) == kept
    assert told_bytes(again[0]) == told_bytes(again[1])


@every_case
def test_the_report_names_lower_ranks_and_measures_agreement_over_common_columns(case: Case) -> None:
    """Catches a report that compares columns with others', and one that says more than before where ranks are equal."""
    found = run(case, start(), mixed(1)).report
    assert found.ranks == {name: rank for name, rank in RANKS.items() if rank < 8}
    assert found.to_dict()["ranks"] == found.ranks
    assert "ranks" not in run(case, start(), round_of(1)).report.to_dict()
    assert found.drift == run(case, start(), [change.of_rank(2) for change in round_of(1)]).report.drift


def test_multi_krum_refuses_a_lower_rank() -> None:
    """Catches distances between changes of different columns."""
    krum = Recipe(MULTI_KRUM, hostile=1)
    with pytest.raises(AggregationError, match="multi-krum takes no release of a lower rank: a, north"):
        aggregate(gather(EXPERT, start(), mixed(1)), krum, PLAN)
    aggregate(gather(EXPERT, start(), round_of(1)), krum, PLAN)


@pytest.mark.parametrize(
    "cut",
    [
        {"x.lora_B": (30, 0), "y.lora_B": (5, 0)},
        {"x.lora_B": (30, 9), "y.lora_B": (5, 9)},
        {"x.lora_B": (30, 2), "y.lora_B": (5, 4)},
        {"x.lora_B": (30, 2)},
        {"x.lora_B": (30, 2), "y.lora_B": (5, 2), "wide": (3, 49)},
    ],
    ids=["no columns", "more than the expert has", "different ranks", "one left whole", "what is no B"],
)
def test_what_is_no_lower_rank_is_refused(cut: dict[str, tuple[int, ...]]) -> None:
    """Catches columns that would be added to others than they were trained as."""
    odd = round_of(1)[0]
    odd = replace(
        odd, tensors={**odd.tensors, **{name: fixed(np.zeros(shape)) for name, shape in cut.items()}}
    )
    with pytest.raises(AggregationError, match="other tensors or shapes"):
        gather(EXPERT, start(), [*round_of(1)[1:], odd])


@every_case
def test_memory_does_not_grow_with_the_number_of_hospitals(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches columns cut out of all releases at once: as `test_aggregators` has it, with ranks 1, 2 and 4."""
    monkeypatch.setattr(blocks, "STACK_BYTES", 1 << 18)
    whole = np.random.default_rng(0).normal(0, 0.005, (1 << 14, 4))
    shared = [{"w.lora_B": fixed(whole[:, :rank])} for rank in (1, 2, 4)]
    state: State = {"w.lora_B": fixed(np.zeros((1 << 14, 4)))}
    recipe = replace(
        case.recipe,
        weighting=replace(case.recipe.weighting, declared=dict.fromkeys(map(str, range(96)), 1.0)),
    )
    peaks = []
    for count in (9, 96):
        changes = [Drawn(str(number), shared[number % 3]) for number in range(count)]
        tracemalloc.start()
        aggregate(gather(EXPERT, state, changes), recipe, PLAN)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 4 * blocks.STACK_BYTES, f"{peaks} bytes with 9 and with 96 hospitals"

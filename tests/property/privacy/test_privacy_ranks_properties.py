"""Of any expert: its first columns are told as such, by their number, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from privacy.ranks import Shape, first_columns, is_b, lower_rank

sides = st.integers(1, 9)
names = st.sampled_from(["a.lora_B", "b.lora_B", "projector.out.weight", "router.weight", "bias"])
experts = st.dictionaries(names, st.tuples(sides, sides), min_size=1)


@given(experts, sides, sides)
def test_the_first_columns_are_told_by_their_number(shapes: dict[str, Shape], rank: int, most: int) -> None:
    """Catches a rank that is told wrong, or of a change that lacks nothing; and what is no B cut."""
    whole = {name: (shape[0], rank) if is_b(name) else shape for name, shape in shapes.items()}
    found = first_columns(whole, most)
    assert lower_rank(found, whole) == (most if most < rank and any(map(is_b, whole)) else None)
    assert {name: shape for name, shape in found.items() if not is_b(name)} == {
        name: shape for name, shape in whole.items() if not is_b(name)
    }
    assert first_columns(whole, None) == whole


@given(experts, experts)
def test_nothing_else_is(found: dict[str, Shape], whole: dict[str, Shape]) -> None:
    """Catches shapes that would be cut out of an expert otherwise than as its first columns."""
    rank = lower_rank(found, whole)
    if rank is not None:
        assert rank >= 1
        assert found != whole
        assert found == first_columns(whole, rank)

"""A campaign's definition read from a hostile journal: numbers that no float holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from strategies.definition import Definition, Stage
from strategies.errors import DefinitionError, RecipeError
from strategies.optimiser import ADAM, Optimiser
from strategies.weighting import DECLARED
from tests.privacy_cases import BASE, MECHANISM

VAST = 10**400  # canonical JSON writes it, and no float holds it
WRITTEN = Definition(
    name="spring",
    seed=7,
    base_hash=BASE,
    expert_rank=2,
    expert_alpha=4.0,
    stages=(Stage("sft", 2, ("scale/roi",), 0.01, MECHANISM),),
    weighting=DECLARED,
    weights={"north": 1.0},
    optimiser={"scale/roi": Optimiser(ADAM)},
).to_dict()
FORM = {"rank": 2, "alpha": 4.0, "layers": ["q_proj"]}
TERMS = {"grid_step": 2.0**-10, "most_patients": 50, "honest": 2, "colluding": 1}

Values = dict[str, Any]


def _of_optimiser(name: str) -> Callable[[Values, int], object]:
    return lambda values, number: values["optimiser"]["scale/roi"].update({name: number})


NUMBERS: dict[str, Callable[[Values, int], object]] = {
    "expert_alpha": lambda values, number: values.update(expert_alpha=number),
    "expert": lambda values, number: values["expert"].update({"scale/roi": {**FORM, "alpha": number}}),
    "weights": lambda values, number: values["weights"].update(north=number),
    "learning_rate": lambda values, number: values["stages"][0].update(learning_rate=number),
    "kl_beta": lambda values, number: values["stages"][0].update(kl_beta=number),
    "mechanism": lambda values, number: values["stages"][0]["mechanism"].update(clip_norm=number),
    "distributed": lambda values, number: values["stages"][0].update(
        distributed={**TERMS, "grid_step": number}
    ),
    **{f"optimiser.{name}": _of_optimiser(name) for name in ("learning_rate", "beta1", "tau")},
}


def written() -> Values:
    """The definition as it is read from a journal."""
    return dict(json.loads(json.dumps(WRITTEN)))


def test_the_definition_is_one() -> None:
    """Catches a definition that the tests here refuse for another reason than its vast number."""
    assert Definition.from_dict(written()).to_dict() == WRITTEN


@pytest.mark.parametrize("change", NUMBERS.values(), ids=NUMBERS.keys())
@pytest.mark.parametrize("number", [VAST, -VAST], ids=["vast", "vast-below-0"])
def test_a_whole_number_beyond_every_float_is_refused_by_name(
    change: Callable[[Values, int], object], number: int
) -> None:
    """Catches a number in a signed definition that ends an audit with an OverflowError."""
    values = written()
    change(values, number)
    with pytest.raises(DefinitionError):
        Definition.from_dict(values)


def test_an_optimiser_says_which_number_is_too_large() -> None:
    """Catches a campaign file whose author is shown an OverflowError."""
    with pytest.raises(
        RecipeError, match=r"^learning_rate must be a finite number, not a whole one beyond 1e308$"
    ):
        Optimiser(ADAM, learning_rate=VAST)

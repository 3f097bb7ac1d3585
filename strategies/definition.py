"""What decides a campaign's result: every plan, and how every expert is aggregated, follow from it and from nothing else.

The consortium makes it of its campaign file (`server.campaign`) and writes it into the journal when the campaign begins;
an auditor reads it there (`strategies.replay`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from privacy import canonical
from privacy.errors import MechanismError, PlanError
from privacy.experts import EXPERTS, ROUTER, TRAINED_IN, ExpertForm, forms_from_dict, forms_to_dict
from privacy.forms import Form, count, each, odd, record, table, text
from privacy.mechanism import Mechanism
from privacy.plan import Plan, is_campaign
from privacy.policy import is_hospital
from privacy.secagg.terms import Distributed
from strategies import shrink
from strategies.aggregate import MEAN, Recipe
from strategies.errors import DefinitionError, RecipeError
from strategies.optimiser import Optimiser
from strategies.weighting import EQUAL, Weighting

_FIXED = ("name", "seed", "base_hash", "expert_rank", "expert_alpha", "weighting")
_OTHERWISE = (
    "weights",
    "patients",
    "aggregation",
    "optimiser",
)  # only written where they are not a plain mean's


@dataclass(frozen=True)
class Stage:
    """Rounds of one kind under one mechanism. Raises `DefinitionError` for a number of rounds that is none."""

    kind: str
    rounds: int
    experts: tuple[str, ...]
    learning_rate: float
    mechanism: Mechanism
    rollouts: int = 0
    kl_beta: float = 0.0
    max_answer_tokens: int = 0
    distributed: Distributed | None = None

    def __post_init__(self) -> None:
        if type(self.rounds) is not int or self.rounds < 1:
            raise DefinitionError(f"rounds = {self.rounds!r}: must be a whole number of at least 1")
        object.__setattr__(self, "experts", tuple(sorted(self.experts)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `distributed` only where it is there."""
        said = {**vars(self), "experts": list(self.experts), "mechanism": self.mechanism.to_dict()}
        if self.distributed is None:
            del said["distributed"]
        else:
            said["distributed"] = self.distributed.to_dict()
        return said


@dataclass(frozen=True)
class Aggregation:
    """How releases of any expert become one change (`strategies.aggregate.Recipe` says what goes together)."""

    rule: str = MEAN
    hostile: int = 0
    shrinkage: str = shrink.NONE


@dataclass(frozen=True)
class Definition:
    """A campaign's definition; `server.campaign.Campaign` says what its fields mean. `initial` hashes each expert's start."""

    name: str
    seed: int
    base_hash: str
    expert_rank: int
    expert_alpha: float
    stages: tuple[Stage, ...]
    weighting: str = EQUAL
    weights: Mapping[str, float] = field(default_factory=dict)
    patients: Mapping[str, int] = field(default_factory=dict)
    aggregation: Aggregation = field(default_factory=Aggregation)
    optimiser: Mapping[str, Optimiser] = field(default_factory=dict)
    trusted_code: tuple[str, ...] = ()
    expert: Mapping[str, ExpertForm] = field(default_factory=dict)
    initial: Mapping[str, str] = field(default_factory=dict)

    def forms(self, names: Iterable[str]) -> dict[str, ExpertForm]:
        """The form of each of these experts but the router, which has none."""
        usual = ExpertForm(self.expert_rank, self.expert_alpha)
        return {name: self.expert.get(name, usual) for name in names if name != ROUTER}

    def recipe(self, expert: str) -> Recipe:
        """How this expert is aggregated. Raises `RecipeError`."""
        return Recipe(
            **vars(self.aggregation),
            weighting=Weighting(self.weighting, self.weights),
            optimiser=self.optimiser.get(expert, Optimiser()),
        )

    @property
    def members(self) -> frozenset[str] | None:
        """The hospitals that take part; None for all that are enrolled."""
        return frozenset(self.weights or self.patients) or None

    @property
    def code_hashes(self) -> frozenset[str] | None:
        """The trusted code; None where any is."""
        return frozenset(self.trusted_code) or None

    def stage_at(self, number: int) -> Stage:
        """The stage of round `number`, counted from 1 through all stages. Raises `DefinitionError` beyond the last."""
        left = number
        for stage in self.stages:
            if 1 <= left <= stage.rounds:
                return stage
            left -= stage.rounds
        raise DefinitionError(f"campaign {self.name} has no round {number}")

    def plan(self, stage: Stage, number: int, states: Mapping[str, str]) -> Plan:
        """The plan of a round of this stage; `states` gives the hash of every expert's present state.

        The stage's experts travel, and under task experts what SFT trains, as far as there are states. Raises `PlanError`.
        """
        hashes = {name: states[name] for name in travelling(stage, states)}
        return Plan(
            campaign=self.name,
            round=number,
            stage=stage.kind,
            experts=stage.experts,
            mechanism=stage.mechanism,
            learning_rate=stage.learning_rate,
            base_hash=self.base_hash,
            experts_hash=hashes,
            forms=self.forms(hashes),
            expert_seed=self.seed,
            rollouts=stage.rollouts,
            kl_beta=stage.kl_beta,
            max_answer_tokens=stage.max_answer_tokens,
            distributed=stage.distributed,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values. How releases are aggregated is said only where it is no plain mean, so that a campaign begun
        before there was a choice goes on.
        """
        said: dict[str, dict[str, Any]] = {
            "weights": dict(self.weights),
            "patients": dict(self.patients),
            "aggregation": dict(vars(self.aggregation)) if self.aggregation != Aggregation() else {},
            "optimiser": {name: optimiser.to_dict() for name, optimiser in self.optimiser.items()},
        }
        return {
            **{key: getattr(self, key) for key in _FIXED},
            "trusted_code": list(self.trusted_code),
            "expert": forms_to_dict(self.expert),
            "stages": [stage.to_dict() for stage in self.stages],
            "initial": dict(self.initial),
            **{key: value for key, value in said.items() if value},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Definition:
        """Read hostile values. Raises `DefinitionError` for anything that `to_dict` would not have written, and for what
        no campaign can be aggregated by.
        """
        values = {**{key: {} for key in _OTHERWISE}, **values}
        if wrong := odd(values, _FORMS):
            raise DefinitionError(f"it is malformed at {', '.join(wrong)}")
        try:
            found = cls(
                **{key: values[key] for key in (*_FIXED, "weights", "patients", "initial")},
                stages=tuple(map(_stage, values["stages"])),
                aggregation=Aggregation(**values["aggregation"]),
                optimiser={name: Optimiser(**each) for name, each in values["optimiser"].items()},
                trusted_code=tuple(values["trusted_code"]),
                expert=forms_from_dict(values["expert"]),
            )
            for name in EXPERTS:
                found.recipe(name)
        except (MechanismError, PlanError, RecipeError) as error:
            raise DefinitionError(str(error)) from error
        said = {key: value for key, value in values.items() if value or key not in _OTHERWISE}
        if canonical.encode(found.to_dict()) != canonical.encode(said):
            raise DefinitionError("it is not written as a definition is")
        return found


def travelling(stage: Stage, states: Collection[str]) -> tuple[str, ...]:
    """The experts whose states go to hospitals in this stage, of those in `states`; sorted."""
    under = TRAINED_IN["sft"] if stage.kind == "grpo" else ()
    return tuple(sorted(name for name in states if name in stage.experts or name in under))


def _stage(values: Mapping[str, Any]) -> Stage:
    experts, mechanism = tuple(values["experts"]), Mechanism.from_dict(values["mechanism"])
    terms = {"distributed": Distributed.from_dict(values["distributed"])} if "distributed" in values else {}
    return Stage(**{**values, "experts": experts, "mechanism": mechanism, **terms})


def _number(value: object) -> bool:
    """A finite number that a float can hold; not every whole number is."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _by(name: Callable[[str], bool], form: Form) -> Form:
    """A table of names and values."""
    return lambda value: (
        isinstance(value, dict) and all(name(key) and form(item) for key, item in value.items())
    )


def _is_expert(name: str) -> bool:
    return name in EXPERTS


def _optimiser(value: object) -> bool:
    return isinstance(value, dict) and set(value) <= set(Optimiser.__dataclass_fields__)


_STAGE: Mapping[str, Form] = {
    "kind": text,
    "rounds": count,
    "experts": each(text),
    "learning_rate": _number,
    "mechanism": table,
    "rollouts": count,
    "kl_beta": _number,
    "max_answer_tokens": count,
}
_FORMS: Mapping[str, Form] = {
    "name": is_campaign,
    "seed": lambda value: type(value) is int,
    "base_hash": canonical.is_digest,
    "expert_rank": count,
    "expert_alpha": _number,
    "weighting": text,
    "trusted_code": each(canonical.is_digest),
    "expert": table,
    "stages": each(lambda value: record(_STAGE)(value) or record({**_STAGE, "distributed": table})(value)),
    "initial": _by(_is_expert, canonical.is_digest),
    "weights": _by(is_hospital, _number),
    "patients": _by(is_hospital, count),
    "aggregation": lambda value: (
        value == {} or record({"rule": text, "hostile": count, "shrinkage": text})(value)
    ),
    "optimiser": _by(_is_expert, _optimiser),
}

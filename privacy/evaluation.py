"""What is asked about how good the model is: of an evaluator's public data, and of a hospital's patients, noised."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from privacy import canonical
from privacy.errors import MechanismError, PlanError, WireError
from privacy.experts import (
    EXPERTS,
    SCALES,
    TASKS,
    ExpertForm,
    check_forms,
    forms_from_dict,
    forms_to_dict,
)
from privacy.keys import PrivateKey, PublicKey, Purpose
from privacy.mechanism import Event
from privacy.plan import ANSWER_TOKENS

MAX_BYTES = 64 * 1024
STAGES = ("base", "sft", "grpo")
EVALUATION = "evaluation"  # what a noised evaluation's reservation pays for
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MOST_ROUNDS = 1_000_000
_MOST_ANSWER_TOKENS = 8192

Kind = tuple[str, str]  # scale, task


@dataclass(frozen=True)
class Evaluation:
    """A request to score `experts_hash`'s experts (those it does not name are off) on public data.

    Answers are thinking ones where `stage` is "grpo", else direct, of at most `max_answer_tokens`. It is not signed: it
    is answered only where the policy declares the data public, and changes nothing there. Raises `WireError` for a
    field of a wrong form.
    """

    stage: str
    base_hash: str
    experts_hash: Mapping[str, str]
    forms: Mapping[str, ExpertForm]
    expert_seed: int
    max_answer_tokens: int = ANSWER_TOKENS

    def __post_init__(self) -> None:
        if self.stage not in STAGES or not _names_experts(self):
            raise WireError("not an evaluation: a field is of a wrong form")

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return canonical.encode(
            {**fields, "experts_hash": dict(self.experts_hash), "forms": forms_to_dict(self.forms)}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Evaluation:
        """Read hostile bytes.  Raises `WireError`."""
        return cls(**_fields(data, set(cls.__dataclass_fields__)))


@dataclass(frozen=True)
class NoisedEvaluation:
    """A request for noised counts of right and wrong answers on a hospital's own patients; signed, as a plan is.

    It scores `experts_hash`'s experts (those it does not name are off) on questions of the public `kinds` (scale
    and task; sorted, unique), after `round` rounds of the campaign.  `point` is the training stage that has
    ended; answers are thinking ones where it is "grpo", else direct, of at most `max_answer_tokens`.  All hospitals
    are sent the same request; each answers in its own name.  Raises `WireError` for a field of a wrong form.
    """

    campaign: str
    round: int
    point: str
    kinds: tuple[Kind, ...]
    noise_multiplier: float
    base_hash: str
    experts_hash: Mapping[str, str]
    forms: Mapping[str, ExpertForm]
    expert_seed: int
    max_answer_tokens: int = ANSWER_TOKENS

    purpose = stage = EVALUATION

    def __post_init__(self) -> None:
        well_formed = (
            isinstance(self.campaign, str)
            and _NAME.fullmatch(self.campaign) is not None
            and type(self.round) is int
            and 0 <= self.round <= _MOST_ROUNDS
            and self.point in STAGES
            and _are_kinds(self.kinds)
            and _is_positive(self.noise_multiplier)
            and _names_experts(self)
        )
        if not well_formed:
            raise WireError("not a noised evaluation: a field is of a wrong form")
        try:
            self.event()
        except MechanismError as error:
            raise WireError(f"not a noised evaluation: {error}") from error

    def event(self) -> Event:
        """What a hospital spends by answering, whichever of the kinds it has."""
        return charge(self.noise_multiplier)

    @property
    def noise_std(self) -> float:
        """That of each count: the noise multiplier times the sensitivity, sqrt(kinds)."""
        return self.noise_multiplier * math.sqrt(len(self.kinds))

    def to_bytes(self) -> bytes:
        """Canonical JSON: equal requests have equal bytes."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["kinds"] = [list(kind) for kind in self.kinds]
        fields["experts_hash"] = dict(self.experts_hash)
        fields["forms"] = forms_to_dict(self.forms)
        return canonical.encode(fields)

    @classmethod
    def from_bytes(cls, data: bytes) -> NoisedEvaluation:
        """Read hostile bytes.  Raises `WireError`."""
        fields = _fields(data, set(cls.__dataclass_fields__))
        kinds = fields["kinds"]
        if not isinstance(kinds, list) or not all(isinstance(kind, list) for kind in kinds):
            raise WireError("not a noised evaluation: its kinds are no list of pairs")
        return cls(**{**fields, "kinds": tuple(map(tuple, kinds))})

    @cached_property
    def hash(self) -> str:
        """SHA-256 of `to_bytes()`: the request's name in ledgers and answers."""
        return canonical.digest(self.to_bytes())

    def sign(self, key: PrivateKey) -> bytes:
        """The coordinator's signature that travels beside `to_bytes()`."""
        return key.sign(self.to_bytes(), Purpose.EVALUATION)

    @classmethod
    def open(cls, data: bytes, signature: bytes, coordinator: PublicKey) -> NoisedEvaluation:
        """Read a request that came over the network: signature first (`SignatureInvalid`), then `from_bytes`."""
        coordinator.verify(signature, data, Purpose.EVALUATION)
        return cls.from_bytes(data)


def charge(noise_multiplier: float) -> Event:
    """What one noised evaluation spends: one Gaussian step over all patients."""
    return Event(noise_multiplier, sampling_rate=1.0, steps=1)


def _fields(data: bytes, names: set[str]) -> dict[str, Any]:
    values = canonical.decode(data, MAX_BYTES)
    if not isinstance(values, dict) or set(values) != names:
        raise WireError("not an evaluation: its fields are others")
    try:
        return {**values, "forms": forms_from_dict(values["forms"])}
    except PlanError as error:
        raise WireError(f"not an evaluation: {error}") from error


def _names_experts(asked: Evaluation | NoisedEvaluation) -> bool:
    """Whether base, experts and what shapes them are well-formed."""
    hashes = asked.experts_hash
    return (
        canonical.is_digest(asked.base_hash)
        and isinstance(hashes, Mapping)
        and all(name in EXPERTS and canonical.is_digest(value) for name, value in hashes.items())
        and _have_forms(asked.forms, hashes)
        and type(asked.expert_seed) is int
        and 0 <= asked.expert_seed < 2**63
        and type(asked.max_answer_tokens) is int
        and 1 <= asked.max_answer_tokens <= _MOST_ANSWER_TOKENS
    )


def _have_forms(forms: object, names: Mapping[str, str]) -> bool:
    try:
        check_forms(forms, names)
    except PlanError:
        return False
    return True


def _is_positive(value: object) -> bool:
    return type(value) is float and math.isfinite(value) and value > 0


def _are_kinds(kinds: object) -> bool:
    known = {(scale, task) for scale in SCALES for task in TASKS}
    return (
        isinstance(kinds, tuple)
        and len(kinds) > 0
        and all(isinstance(kind, tuple) and all(isinstance(word, str) for word in kind) for kind in kinds)
        and set(kinds) <= known
        and list(kinds) == sorted(set(kinds))
    )

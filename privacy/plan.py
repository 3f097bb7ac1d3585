"""The plan of one round: what the coordinator asks of every hospital, signed, and judged by each."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from privacy import canonical
from privacy.errors import MechanismError, PlanError, WireError
from privacy.experts import (
    EXPERTS,
    ROUTER,
    TRAINED_IN,
    ExpertForm,
    check_forms,
    forms_from_dict,
    forms_to_dict,
)
from privacy.keys import PrivateKey, PublicKey, Purpose
from privacy.mechanism import Event, Mechanism
from privacy.secagg.terms import Distributed

MAX_BYTES = 64 * 1024
TRAINING = "training"  # what a plan's reservation pays for
# Far beyond any sensible value; from about 1e30 on, which numbers overflow would tell of the numbers.
MOST_LEARNING_RATE = 1e6
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

# Ceilings against a plan that would hold a hospital's machine for ever; far above any sensible value.
_CEILINGS = {"round": 1_000_000, "rollouts": 256, "max_answer_tokens": 8192}
_LARGEST = sys.float_info.max
_GRPO_ONLY = ("rollouts", "kl_beta")
ANSWER_TOKENS = 256  # the longest answer, where nothing says otherwise


@dataclass(frozen=True)
class Plan:
    """One round of a campaign.  Frozen, and valid by construction: `PlanError` says which field is wrong.

    `experts` are the ones to train, sorted.  `experts_hash` gives the SHA-256 of the bytes of *every* expert
    state sent along, the trained ones (their parents) and the frozen ones under them; `forms` the form of each
    of these but the router. The router learns from the samples of the scale experts that are trained beside it.
    `max_answer_tokens` bounds an answer: GRPO writes none that is longer, SFT learns none (0 there: `ANSWER_TOKENS`).
    `distributed` gives the terms of a round under distributed trust, which is one step; None asks for releases.
    """

    campaign: str
    round: int
    stage: str
    experts: tuple[str, ...]
    mechanism: Mechanism
    learning_rate: float
    base_hash: str
    experts_hash: Mapping[str, str]
    forms: Mapping[str, ExpertForm]
    expert_seed: int
    rollouts: int = 0
    kl_beta: float = 0.0
    max_answer_tokens: int = 0
    distributed: Distributed | None = None

    purpose = TRAINING

    def __post_init__(self) -> None:
        if not is_campaign(self.campaign):
            raise PlanError(f"campaign {self.campaign!r} must match {_NAME.pattern}")
        for name in ("round", "expert_seed", "rollouts", "max_answer_tokens"):
            _whole(name, getattr(self, name), 1 if name == "round" else 0)
        for name in ("learning_rate", "kl_beta"):
            object.__setattr__(self, name, _positive(name, getattr(self, name), zero=name == "kl_beta"))
        if self.learning_rate > MOST_LEARNING_RATE:
            raise PlanError(f"learning_rate must be at most {MOST_LEARNING_RATE:g}, not {self.learning_rate}")
        if not isinstance(self.mechanism, Mechanism):
            raise PlanError(f"mechanism must be a Mechanism, not {self.mechanism!r}")
        if self.distributed is not None:
            try:
                self.distributed.check(self.mechanism)
            except (MechanismError, AttributeError) as error:
                raise PlanError(f"distributed: {error}") from error
        self._check_experts()
        self._check_stage()

    def _check_experts(self) -> None:
        if not isinstance(self.stage, str) or self.stage not in TRAINED_IN:
            raise PlanError(f"stage {self.stage!r} must be one of {', '.join(TRAINED_IN)}")
        trained = self.experts
        if (
            not isinstance(trained, tuple)
            or not trained
            or not all(isinstance(name, str) for name in trained)
        ):
            raise PlanError(f"experts must be a tuple of one name or more, not {trained!r}")
        if list(trained) != sorted(set(trained)):
            raise PlanError(f"experts must be sorted and unique, not {list(trained)}")
        wrong = [name for name in trained if name not in TRAINED_IN[self.stage]]
        if wrong:
            raise PlanError(
                f"stage {self.stage} trains {', '.join(TRAINED_IN[self.stage])}, not {', '.join(wrong)}"
            )
        if trained == (ROUTER,):
            raise PlanError(
                f"experts: {ROUTER} is trained beside a scale expert, on its samples, never alone"
            )
        if not isinstance(self.experts_hash, Mapping):
            raise PlanError(f"experts_hash must map expert names to hashes, not {self.experts_hash!r}")
        for name, value in self.experts_hash.items():
            if name not in EXPERTS or not canonical.is_digest(value):
                raise PlanError(f"experts_hash: {name!r}: {value!r} is not a known expert with a SHA-256")
        missing = sorted(set(trained) - set(self.experts_hash))
        if missing:
            raise PlanError(f"experts_hash lacks {', '.join(missing)}")
        object.__setattr__(self, "experts_hash", MappingProxyType(dict(self.experts_hash)))
        object.__setattr__(self, "forms", check_forms(self.forms, self.experts_hash))
        if not canonical.is_digest(self.base_hash):
            raise PlanError(f"base_hash {self.base_hash!r} is not a SHA-256 in hex")

    def _check_stage(self) -> None:
        if self.stage == "grpo" and (self.rollouts < 2 or self.max_answer_tokens < 1):
            raise PlanError("stage grpo needs rollouts of at least 2 and max_answer_tokens of at least 1")
        if self.stage == "sft" and any(getattr(self, name) for name in _GRPO_ONLY):
            raise PlanError(f"stage sft takes none of {', '.join(_GRPO_ONLY)}")

    @property
    def longest_answer(self) -> int:
        """Tokens of the longest answer that is trained or written."""
        return self.max_answer_tokens or ANSWER_TOKENS

    def event(self) -> Event:
        """What a hospital spends by answering this plan, whichever of its experts it trains."""
        return self.mechanism.event() if self.distributed is None else self.distributed.event(self.mechanism)

    def restricted(self, allowed: Collection[str]) -> tuple[str, ...]:
        """The plan's experts that a hospital allowing `allowed` trains, in the plan's order; may be empty.

        The router is not trained where none of the plan's scale experts is.
        """
        kept = tuple(name for name in self.experts if name in allowed)
        return () if kept == (ROUTER,) else kept

    def to_bytes(self) -> bytes:
        """Canonical JSON: equal plans have equal bytes. `distributed` is only said where it is there."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["experts"] = list(self.experts)
        fields["experts_hash"] = dict(self.experts_hash)
        fields["forms"] = forms_to_dict(self.forms)
        fields["mechanism"] = self.mechanism.to_dict()
        if self.distributed is None:
            del fields["distributed"]
        else:
            fields["distributed"] = self.distributed.to_dict()
        return canonical.encode(fields)

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """Read hostile bytes.  Raises `PlanError` for anything that `to_bytes` would not have written."""
        try:
            fields = canonical.decode(data, MAX_BYTES)
        except WireError as error:
            raise PlanError(f"plan: {error}") from error
        if not isinstance(fields, dict):
            raise PlanError("plan: not a table")
        names = set(cls.__dataclass_fields__)
        missing, unknown = sorted(names - {"distributed"} - set(fields)), sorted(set(fields) - names)
        if missing or unknown:
            raise PlanError(f"plan: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
        if not isinstance(fields["experts"], list):
            raise PlanError("plan: experts must be a list of names")
        fields["experts"] = tuple(fields["experts"])
        fields["forms"] = forms_from_dict(fields["forms"])
        try:
            fields["mechanism"] = Mechanism.from_dict(fields["mechanism"])
            if "distributed" in fields:
                fields["distributed"] = Distributed.from_dict(fields["distributed"])
        except MechanismError as error:
            raise PlanError(f"plan: {error}") from error
        plan = cls(**fields)
        if plan.to_bytes() != data:
            raise PlanError("plan: a number is not written as its type is (1 where 1.0 is meant)")
        return plan

    @cached_property
    def hash(self) -> str:
        """SHA-256 of `to_bytes()`: the plan's name in ledgers and releases."""
        return canonical.digest(self.to_bytes())

    def sign(self, key: PrivateKey) -> bytes:
        """The coordinator's signature that travels beside `to_bytes()`."""
        return key.sign(self.to_bytes(), Purpose.PLAN)

    @classmethod
    def open(cls, data: bytes, signature: bytes, coordinator: PublicKey) -> Plan:
        """Read a plan that came over the network: signature first (`SignatureInvalid`), then `from_bytes`."""
        coordinator.verify(signature, data, Purpose.PLAN)
        return cls.from_bytes(data)


def is_campaign(name: object) -> bool:
    """Whether `name` is spelled as a campaign's name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise PlanError(f"{name} must be a whole number, not {value!r}")
    most = _CEILINGS.get(name, 2**63 - 1)
    if not least <= value <= most:
        raise PlanError(f"{name} must lie between {least} and {most}, not {value}")


def _positive(name: str, value: object, *, zero: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise PlanError(f"{name} must be a finite number, not {value!r}")
    if value < 0 or (value == 0 and not zero):
        raise PlanError(f"{name} must be {'at least' if zero else 'above'} 0, not {value}")
    return float(value)

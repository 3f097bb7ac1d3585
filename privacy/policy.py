"""The hospital's policy: a TOML file that its IT owns; nothing that the coordinator sends overrides it."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from privacy import canonical
from privacy.codes import Refusal
from privacy.errors import PolicyError
from privacy.evaluation import Kind, NoisedEvaluation
from privacy.experts import ROUTER, SCALES, TASKS
from privacy.hours import ALL_WEEK, Hours
from privacy.mechanism import Mechanism
from privacy.plan import Plan

_OPTIONAL = (
    "public_data",
    "epsilon_per_campaign",
    "epsilon_per_day",
    "minimum_evaluation_noise",
    "skip_bad_rows",
    "distributed_trust",
    "colluding",
    "max_rank",
    "hours",
    "time_zone",
    "gpu_memory_share",
    "approval",
    "named_as",
)
APPROVALS = ("automatic", "manual")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_LEAST_DELTA = 1e-12
_MOST = 10**12  # of patients, steps, samples: beyond any hospital's


@dataclass(frozen=True)
class Policy:
    """What a hospital allows.  Frozen, and valid by construction: `PolicyError` names the key and the cure.

    `nominal_patients` is a public constant in place of the private cohort size: a step divides by
    `sampling_rate * nominal_patients`, so state a round figure near the truth, not the truth.
    `epsilon_per_campaign` and `epsilon_per_day` (UTC) limit a part of the budget further; None leaves it whole.
    `maximum_steps` is per round.  `campaigns = ["*"]` allows any campaign of the pinned coordinator.
    `public_data = true` (the consortium's evaluator) lets metrics leave as they are, and refuses to train.
    `minimum_evaluation_noise` offers noised evaluations, of that noise multiplier at least; None offers none.
    `distributed_trust = true` offers rounds in which only the sum over hospitals is noised enough (docs/secagg.md);
    `colluding` is how many of the others may side with the server there, at least, without harm.
    `max_rank` is the most columns of a LoRA expert's B that this hospital trains; None trains them all (docs/adr/0033).
    `skip_bad_rows = true` uses a manifest without its bad rows, and without all rows of patients and slides about which
    it contradicts itself; false uses it whole or not at all.  It stands here, and so in the ledger, because such a
    contradiction takes one patient's rows out for another's: an auditor should know that nobody resolved them.
    `hours` are the spans of a week, in `time_zone`, in which a round may begin (`privacy.hours`); None leaves all hours.
    `gpu_memory_share` is how much of a GPU's memory training may take; None takes what is free.
    `approval = "manual"` trains only for campaigns that this hospital's IT approved by name.
    `named_as` is how model cards may name this hospital, in public and for good; None leaves it unnamed.
    """

    hospital: str
    epsilon_budget: float
    delta: float
    nominal_patients: int
    minimum_noise_multiplier: float
    maximum_sampling_rate: float
    maximum_steps: int
    maximum_samples_per_patient: int
    tasks: tuple[str, ...]
    scales: tuple[str, ...]
    campaigns: tuple[str, ...]
    public_data: bool = False
    epsilon_per_campaign: float | None = None
    epsilon_per_day: float | None = None
    minimum_evaluation_noise: float | None = None
    skip_bad_rows: bool = False
    distributed_trust: bool = False
    colluding: int = 1
    max_rank: int | None = None
    hours: tuple[str, ...] | None = None
    time_zone: str | None = None
    gpu_memory_share: float | None = None
    approval: str = "automatic"
    named_as: str | None = None

    def __post_init__(self) -> None:
        if not is_hospital(self.hospital):
            raise PolicyError(f'hospital = {self.hospital!r}: use lower-case letters, digits and "-"')
        for name, above, at_most in _NUMBERS:
            if name not in _OPTIONAL or getattr(self, name) is not None:
                object.__setattr__(self, name, _number(name, getattr(self, name), above, at_most))
        for name in ("nominal_patients", "maximum_steps", "maximum_samples_per_patient", "colluding"):
            _count(name, getattr(self, name))
        if self.max_rank is not None:
            _count("max_rank", self.max_rank)
        for name, known in (("tasks", tuple(TASKS)), ("scales", SCALES), ("campaigns", None)):
            object.__setattr__(self, name, _names(name, getattr(self, name), known))
        for name in ("public_data", "skip_bad_rows", "distributed_trust"):
            if not isinstance(value := getattr(self, name), bool):
                raise PolicyError(f"{name} = {value!r}: use true or false")
        if self.approval not in APPROVALS:
            raise PolicyError(f"approval = {self.approval!r}: use {' or '.join(map(repr, APPROVALS))}")
        if self.named_as is not None and not is_public_name(self.named_as):
            raise PolicyError(
                f"named_as = {self.named_as!r}: use 1 to 80 printable letters, without blanks around them"
            )
        self._check_hours()
        if self.delta < _LEAST_DELTA:
            raise PolicyError(
                f"delta = {self.delta}: must be at least {_LEAST_DELTA:g}: accountants can't compute below that"
            )
        if self.delta * self.nominal_patients >= 1:
            raise PolicyError(
                f"delta = {self.delta}: must be below 1/nominal_patients = {1 / self.nominal_patients:.2g}, "
                "or one patient in the cohort may be given away outright"
            )

    def _check_hours(self) -> None:
        if self.hours is not None:
            object.__setattr__(self, "hours", _names("hours", self.hours, None))
            if self.time_zone is None:
                raise PolicyError(
                    'hours: state their time_zone too, as "Europe/Berlin": the clock of a container is often UTC'
                )
        if self.time_zone is not None:
            Hours((ALL_WEEK,) if self.hours is None else self.hours, self.time_zone)

    @cached_property
    def opening(self) -> Hours | None:
        """When a round may begin; None at all hours."""
        return None if self.hours is None or self.time_zone is None else Hours(self.hours, self.time_zone)

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts that this policy allows to train, sorted; the router where it allows a scale and a task."""
        router = [ROUTER] if self.scales and self.tasks else []
        return tuple(
            sorted(
                [f"scale/{name}" for name in self.scales] + [f"task/{name}" for name in self.tasks] + router
            )
        )

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of question (scale, task) that this policy allows."""
        return frozenset((scale, task) for scale in self.scales for task in self.tasks)

    def trains_whole(self, plan: Plan) -> bool:
        """Whether this hospital trains every column of the plan's experts that it trains at all."""
        trained = plan.restricted(self.experts)
        ranks = [form.rank for name, form in plan.forms.items() if name in trained]
        return self.max_rank is None or max(ranks, default=0) <= self.max_rank

    def expected_patients(self, mechanism: Mechanism) -> float:
        """The public number of patients that a step's sum is divided by."""
        return mechanism.sampling_rate * self.nominal_patients

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values, as the ledger records them."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @property
    def hash(self) -> str:
        """SHA-256 of the policy's canonical form."""
        return canonical.digest(canonical.encode(self.to_dict()))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Policy:
        """Read a parsed file.  Those of `_OPTIONAL` may be missing; no other is known (`PolicyError`)."""
        known = list(cls.__dataclass_fields__)
        for name in fields:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                cure = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
                raise PolicyError(f"unknown key {name!r}: {cure}")
        missing = [name for name in known if name not in fields and name not in _OPTIONAL]
        if missing:
            raise PolicyError(f"missing {', '.join(missing)}: state each limit; none has a default")
        return cls(**fields)

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy file.  `PolicyError` names the file, the key and what to do."""
        try:
            return cls.from_dict(tomllib.loads(path.read_text("utf-8")))
        except OSError as error:
            raise PolicyError(
                f"{path}: {error.strerror}: a hospital trains nothing without a policy"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PolicyError(f"{path}: not TOML: {error}") from error
        except PolicyError as error:
            raise PolicyError(f"{path}: {error}") from error


def is_hospital(name: object) -> bool:
    """Whether `name` is spelled as a hospital's name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def is_public_name(name: object) -> bool:
    """Whether `name` can stand on a model card: one line of 1 to 80 printable letters."""
    return isinstance(name, str) and 1 <= len(name) <= 80 and name.isprintable() and name == name.strip()


def _allows_campaign(policy: Policy, asked: Plan | NoisedEvaluation) -> bool:
    return "*" in policy.campaigns or asked.campaign in policy.campaigns


# In the order in which they are told; each names what must hold.
_FOR_A_PLAN: tuple[tuple[Refusal, Callable[[Policy, Plan], bool]], ...] = (
    (
        Refusal.NOT_OFFERED,
        lambda policy, plan: (
            not policy.public_data and (policy.distributed_trust or plan.distributed is None)
        ),
    ),
    (Refusal.CAMPAIGN_NOT_ALLOWED, _allows_campaign),
    (Refusal.POLICY_EXPERTS, lambda policy, plan: bool(plan.restricted(policy.experts))),
    (
        Refusal.POLICY_NOISE,
        lambda policy, plan: plan.mechanism.noise_multiplier >= policy.minimum_noise_multiplier,
    ),
    (
        Refusal.POLICY_SAMPLING,
        lambda policy, plan: plan.mechanism.sampling_rate <= policy.maximum_sampling_rate,
    ),
    (Refusal.POLICY_STEPS, lambda policy, plan: plan.mechanism.steps <= policy.maximum_steps),
    (
        Refusal.POLICY_TRUST,
        lambda policy, plan: plan.distributed is None or plan.distributed.colluding >= policy.colluding,
    ),
    (
        Refusal.POLICY_RANK,  # a sum needs everybody's columns
        lambda policy, plan: plan.distributed is None or policy.trains_whole(plan),
    ),
    (
        Refusal.POLICY_SAMPLES,
        lambda policy, plan: plan.mechanism.samples_per_patient <= policy.maximum_samples_per_patient,
    ),
)


_FOR_AN_EVALUATION: tuple[tuple[Refusal, Callable[[Policy, NoisedEvaluation], bool]], ...] = (
    (
        Refusal.NOT_OFFERED,
        lambda policy, asked: policy.minimum_evaluation_noise is not None and not policy.public_data,
    ),
    (Refusal.CAMPAIGN_NOT_ALLOWED, _allows_campaign),
    (Refusal.POLICY_EXPERTS, lambda policy, asked: not policy.kinds.isdisjoint(asked.kinds)),
    (
        Refusal.POLICY_NOISE,
        lambda policy, asked: asked.noise_multiplier >= (policy.minimum_evaluation_noise or math.inf),
    ),
)


def refusal(policy: Policy, asked: Plan | NoisedEvaluation, base_hash: str) -> Refusal | None:
    """Why this hospital, holding the base `base_hash`, may not answer; None where it may.

    The budget is not judged here: the ledger does that when it reserves.
    """
    if isinstance(asked, Plan):
        broken = [code for code, holds in _FOR_A_PLAN if not holds(policy, asked)]
    else:
        broken = [code for code, holds in _FOR_AN_EVALUATION if not holds(policy, asked)]
    if asked.base_hash != base_hash:
        broken.append(Refusal.BASE_MISMATCH)
    return broken[0] if broken else None


# key, must be above, must be at most
_NUMBERS = (
    ("epsilon_budget", 0.0, 1000.0),
    ("epsilon_per_campaign", 0.0, 1000.0),
    ("epsilon_per_day", 0.0, 1000.0),
    ("delta", 0.0, 0.1),
    ("minimum_noise_multiplier", 0.0, 1000.0),
    ("minimum_evaluation_noise", 0.0, 1000.0),
    ("maximum_sampling_rate", 0.0, 1.0),
    ("gpu_memory_share", 0.0, 1.0),
)


def _number(name: str, value: object, above: float, at_most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise PolicyError(f"{name} = {value!r}: must be a number")
    if not above < value <= at_most:
        raise PolicyError(f"{name} = {value}: must be above {above:g} and at most {at_most:g}")
    return float(value)


def _count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise PolicyError(f"{name} = {value!r}: must be a whole number from 1 to {_MOST:,}")


def _names(name: str, value: object, known: tuple[str, ...] | None) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise PolicyError(f"{name} = {value!r}: must be a list of names")
    wrong = [item for item in value if known is not None and item not in known]
    if wrong and known is not None:
        raise PolicyError(f"{name} has {', '.join(map(repr, wrong))}: use some of {', '.join(known)}")
    return tuple(dict.fromkeys(value))

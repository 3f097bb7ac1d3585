"""What is done to a step, and the record of what was done: frozen, validated, free of any speed setting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy.errors import MechanismError

MECHANISM = "poisson-subsampled-gaussian"
SHARED = "poisson-subsampled-shared-discrete-gaussian"  # under distributed trust: `privacy.secagg`
MECHANISMS = (MECHANISM, SHARED)
UNIT = "patient"
ADJACENCY = "add-or-remove-one"

_MOST = 2**53  # a count that a float still holds exactly

# Bounds far beyond any sensible round, within which both accountants compute in bounded time and memory: so that no
# plan, policy or ledger, whoever wrote it, can ask for more.
MOST_NOISE = 1e4
LEAST_RATE = 1e-6
MOST_STEPS = 1_000_000


@dataclass(frozen=True)
class Mechanism:
    """A round: `steps` Poisson-subsampled Gaussian steps over patients.

    One patient, with at most `samples_per_patient` samples, moves a step's sum by at most `clip_norm` (L2,
    over all trained parameters together); the sum gets Gaussian noise of standard deviation
    `noise_multiplier * clip_norm` a coordinate.  A noise multiplier of 0 is a valid description of *no*
    privacy: its epsilon is infinite, so no policy and no ledger lets it through.

    Raises `MechanismError` for a noise multiplier under 0 or over 10,000, a sampling rate under 1e-6 or over 1, steps
    that are no whole number from 1 to 1,000,000, and any number that is not finite.
    """

    clip_norm: float
    noise_multiplier: float
    sampling_rate: float
    steps: int
    samples_per_patient: int

    def __post_init__(self) -> None:
        for name in ("clip_norm", "noise_multiplier", "sampling_rate"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        if self.clip_norm <= 0:
            raise MechanismError(f"clip_norm must be above 0, not {self.clip_norm}")
        _check_step(self.noise_multiplier, self.sampling_rate, self.steps)
        _check_count("samples_per_patient", self.samples_per_patient, _MOST)

    def event(self) -> Event:
        """What a round under this mechanism spends."""
        return Event(self.noise_multiplier, self.sampling_rate, self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values."""
        return {
            "clip_norm": self.clip_norm,
            "noise_multiplier": self.noise_multiplier,
            "sampling_rate": self.sampling_rate,
            "steps": self.steps,
            "samples_per_patient": self.samples_per_patient,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Mechanism:
        """Read `to_dict`'s form.  Raises `MechanismError` for a missing, unknown or wrong field."""
        return cls(**_exactly(fields, tuple(cls.__dataclass_fields__), "mechanism"))


@dataclass(frozen=True)
class Event:
    """What was spent, as data whose meaning never changes; epsilon is derived from it, never stored for it.

    `noise_multiplier` is the noise's standard deviation relative to what one patient moves a step's sum by. In a
    `SHARED` event it is that of all honest hospitals' shares together, each share of at least
    `privacy.secagg.shared_noise.LEAST_SIGMA` steps of the grid, so that no number of coordinates adds to its cost.

    Any other mechanism, unit or adjacency is refused rather than guessed at; so is a number that a `Mechanism` may
    not have (`MechanismError`).
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int
    mechanism: str = MECHANISM
    unit: str = UNIT
    adjacency: str = ADJACENCY

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "sampling_rate"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        _check_step(self.noise_multiplier, self.sampling_rate, self.steps)
        for name, known in (("mechanism", MECHANISMS), ("unit", (UNIT,)), ("adjacency", (ADJACENCY,))):
            if getattr(self, name) not in known:
                raise MechanismError(
                    f"event: {name} {getattr(self, name)!r} is not known here; only {' and '.join(map(repr, known))} is"
                )

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values."""
        return {
            "noise_multiplier": self.noise_multiplier,
            "sampling_rate": self.sampling_rate,
            "steps": self.steps,
            "mechanism": self.mechanism,
            "unit": self.unit,
            "adjacency": self.adjacency,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Event:
        """Read `to_dict`'s form.  Raises `MechanismError` for a missing, unknown or wrong field."""
        return cls(**_exactly(fields, tuple(cls.__dataclass_fields__), "event"))


def _check_step(noise_multiplier: float, sampling_rate: float, steps: int) -> None:
    if not 0 <= noise_multiplier <= MOST_NOISE:
        raise MechanismError(
            f"noise_multiplier must lie between 0 and {MOST_NOISE:g}, not {noise_multiplier}"
        )
    if not LEAST_RATE <= sampling_rate <= 1:
        raise MechanismError(f"sampling_rate must lie between {LEAST_RATE:g} and 1, not {sampling_rate}")
    _check_count("steps", steps, MOST_STEPS)


def _check_count(name: str, value: object, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise MechanismError(f"{name} must be a whole number from 1 to {most}, not {value!r}")


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < math.inf:
        raise MechanismError(f"{name} must be a finite number, not {value!r}")
    try:
        return float(value)
    except OverflowError:  # a whole number beyond every float
        raise MechanismError(f"{name} must be a finite number, not a whole one beyond 1e308") from None


def _exactly(fields: Mapping[str, Any], names: tuple[str, ...], what: str) -> dict[str, Any]:
    if not isinstance(fields, Mapping):
        raise MechanismError(f"{what}: a table of {', '.join(names)} is needed, not {fields!r}")
    missing, unknown = sorted(set(names) - set(fields)), sorted(set(fields) - set(names))
    if missing or unknown:
        raise MechanismError(f"{what}: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
    return dict(fields)

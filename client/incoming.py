"""What a courier hands in, read as the hostile data that it is: named parts, a signature before a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from privacy.codes import Refusal, SecaggFault
from privacy.errors import PlanError, SecaggRefused, SignatureInvalid, WireError
from privacy.evaluation import NoisedEvaluation
from privacy.keys import PublicKey
from privacy.plan import Plan
from privacy.secagg.outgoing import STEPS
from privacy.secagg.session import Session

Parts = Mapping[str, bytes]
_Asked = TypeVar("_Asked", Plan, NoisedEvaluation)


class Refused(Exception):  # noqa: N818 - reads as what happened
    """The request is answered by `code`."""

    def __init__(self, code: Refusal | SecaggFault, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


def part(parts: Parts, name: str) -> bytes:
    """The part of that name. Raises `WireError` where there is none."""
    if name not in parts:
        raise WireError(f"the request has no part {name!r}")
    return parts[name]


def signed(kind: type[_Asked], parts: Parts, name: str, coordinator: PublicKey) -> _Asked:
    """The plan or request in the part `name`, under the coordinator's signature.

    Raises `Refused` for a signature that is not the coordinator's and for a plan that does not parse, `WireError`
    for a missing part or a request that does not parse.
    """
    try:
        return kind.open(part(parts, name), part(parts, "signature"), coordinator)
    except SignatureInvalid as error:
        raise Refused(Refusal.PLAN_UNSIGNED, str(error)) from error
    except PlanError as error:
        raise Refused(Refusal.PLAN_INVALID, str(error)) from error


def signed_session(parts: Parts, coordinator: PublicKey) -> Session:
    """The terms of an attempt at a round under distributed trust, under the coordinator's signature.

    Raises `Refused` for a signature that is not the coordinator's and for terms that do not hold, `WireError` for a
    missing part.
    """
    try:
        return Session.open(part(parts, "session"), part(parts, "session_signature"), coordinator)
    except SignatureInvalid as error:
        raise Refused(Refusal.PLAN_UNSIGNED, str(error)) from error
    except SecaggRefused as error:
        raise Refused(error.code, str(error)) from error


def sum_step(parts: Parts) -> str:
    """Which step is asked for. Raises `WireError` for none."""
    step = part(parts, "step").decode("ascii", "replace")
    if step not in STEPS:
        raise WireError(f"no step {step[:20]!r} of secure aggregation is known")
    return step

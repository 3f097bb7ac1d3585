"""What a courier hands in, read as the hostile data that it is: named parts, a signature before a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from privacy.codes import Refusal
from privacy.errors import PlanError, SignatureInvalid, WireError
from privacy.evaluation import NoisedEvaluation
from privacy.keys import PublicKey
from privacy.plan import Plan

Parts = Mapping[str, bytes]
_Asked = TypeVar("_Asked", Plan, NoisedEvaluation)


class Refused(Exception):  # noqa: N818 - reads as what happened
    """The request is answered by `code`."""

    def __init__(self, code: Refusal, why: str) -> None:
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

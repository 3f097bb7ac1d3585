"""What hostile acts in secure aggregation are made of, and the form of a row that names one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from privacy import canonical
from privacy.codes import SecaggFault
from privacy.keys import SIGNATURE_BYTES, Purpose
from tests.secagg_cases import Round, key_of, session_of

ME, OTHER, THIRD = "h000", "h001", "h002"
KEY = key_of(ME)


def old() -> Round:
    """The round before, of the same hospitals."""
    return Round(session_of(round=6))


def resigned(data: bytes, purpose: Purpose, signer: str, **changes: object) -> bytes:
    """A message with changed fields, signed anew."""
    fields = canonical.decode(data[SIGNATURE_BYTES:], 1 << 20)
    payload = canonical.encode({**fields, **changes})
    return key_of(signer).sign(payload, purpose) + payload


def swapped(shown: Mapping[str, bytes], name: str, data: bytes) -> list[bytes]:
    """What is shown, with another message in the place of `name`'s."""
    return list({**shown, name: data}.values())


@dataclass(frozen=True)
class Act:
    what: str
    act: Callable[[], object]
    code: SecaggFault

"""What a hospital may send in a round of secure aggregation: a closed list of five messages, each opened before it leaves."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.egress_record import MASKED
from privacy.errors import EgressError, SecaggRefused
from privacy.secagg.masked_input import MaskedInput
from privacy.secagg.messages import Advert, Deal, Opening, Survivors
from privacy.secagg.session import Session

STEPS = ("advertise", "deal", "mask", "agree", "reveal")
# By the name of the part that carries it, in the order of the steps. All but `masked` are free of anybody's data.
_KINDS: dict[str, type[Advert | Deal | Survivors | Opening]] = {
    "advert": Advert,
    "deal": Deal,
    "survivors": Survivors,
    "opening": Opening,
}
PARTS = dict(
    zip(STEPS, ("advert", "deal", MASKED, "survivors", "opening"), strict=True)
)  # step -> the part that answers it


@dataclass(frozen=True)
class SumExpectation:
    """What a reply must be: the message that answers `step` of this session, by this hospital's own key."""

    session: Session
    hospital: str
    step: str


def sender(name: str, value: bytes, session: Session) -> str:
    """Who signed the message that the part `name` holds. Raises `SecaggRefused` where it is no such message."""
    if name == MASKED:
        return MaskedInput.open(value, session).hospital
    return _KINDS[name].open(value, session).hospital


def check_message(name: str, value: bytes, expected: SumExpectation) -> None:
    """Raise `EgressError` unless the part `name` is the step's message, signed by this hospital for this session."""
    if name != PARTS[expected.step]:
        raise EgressError(f"a {name!r} in answer to the step {expected.step!r}")
    try:
        who = sender(name, value, expected.session)
    except SecaggRefused as error:
        raise EgressError(f"{name!r}: {error}") from error
    if who != expected.hospital:
        raise EgressError(f"{name!r} is {who}'s")

"""A hospital's place in a round of secure aggregation: frozen, written to disk before each answer leaves.

    Advertised --deal--> Dealt --mask--> Masked --agree--> Agreed

Write, then send. A state that is read back gives the same answer again, or none: so a killed agent goes on, and never
signs for two things. The first two hold the secrets of the round; once the input is masked they are gone, and what is
left are shares of other hospitals' (and of its own). The files belong to the agent's user alone (0600) and are removed
at the round's end. An older state must not come back: whoever restores one could answer twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from privacy import canonical
from privacy.errors import CheckpointError, SecaggRefused, WireError
from privacy.secagg.session import Session

MAX_BYTES = 32 * 1024 * 1024

Shares = tuple[bytes, bytes]  # of a dealer's seed and of its masking key


@dataclass(frozen=True)
class Advertised:
    """Keys and a seed were drawn; `advert` is the message that announces them."""

    session: Session
    hospital: str
    sealing: bytes = field(repr=False)
    masking: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    advert: bytes = field(repr=False)


@dataclass(frozen=True)
class Dealt:
    """Shares were dealt to everybody in `adverts` (as shown: name -> message); `own` are those that stay here."""

    advertised: Advertised
    adverts: Mapping[str, bytes] = field(repr=False)
    own: Shares = field(repr=False)
    deal: bytes = field(repr=False)


@dataclass(frozen=True)
class Masked:
    """The input was masked and its bytes, whose SHA-256 is `sent`, may leave.

    `held` gives this hospital's shares by dealer, None where the dealer sent nothing readable.
    """

    session: Session
    hospital: str
    view: str
    held: Mapping[str, Shares | None] = field(repr=False)
    sent: str


@dataclass(frozen=True)
class Agreed:
    """The one set of survivors that this hospital signs for."""

    masked: Masked
    survivors: tuple[str, ...]


State = Advertised | Dealt | Masked | Agreed


def to_bytes(state: State) -> bytes:
    """The state as it is kept: canonical JSON, secrets included."""
    return canonical.encode(_fields(state))


def from_bytes(data: bytes) -> State:
    """Read `to_bytes`' form. Raises `CheckpointError` for anything else."""
    try:
        state = _state(canonical.decode(data, MAX_BYTES))
        if to_bytes(state) == data:
            return state
    except (WireError, SecaggRefused, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the state of a secure aggregation is damaged: {error}") from error
    raise CheckpointError("the state of a secure aggregation is not as it is written")


def _fields(state: State) -> dict[str, Any]:
    if isinstance(state, Advertised):
        secrets = {name: getattr(state, name).hex() for name in ("sealing", "masking", "seed", "advert")}
        return {"session": state.session.to_bytes().decode(), "hospital": state.hospital, **secrets}
    if isinstance(state, Dealt):
        return {
            "advertised": _fields(state.advertised),
            "adverts": {name: data.hex() for name, data in state.adverts.items()},
            "own": [share.hex() for share in state.own],
            "deal": state.deal.hex(),
        }
    if isinstance(state, Masked):
        held = {name: pair and [share.hex() for share in pair] for name, pair in state.held.items()}
        return {
            "session": state.session.to_bytes().decode(),
            "hospital": state.hospital,
            "view": state.view,
            "held": held,
            "sent": state.sent,
        }
    return {"masked": _fields(state.masked), "survivors": list(state.survivors)}


def _state(fields: Any) -> State:
    if "masked" in fields:
        masked = _state(fields["masked"])
        if not isinstance(masked, Masked):
            raise ValueError("nothing was masked")
        return Agreed(masked, tuple(fields["survivors"]))
    if "advertised" in fields:
        advertised = _state(fields["advertised"])
        if not isinstance(advertised, Advertised):
            raise ValueError("nothing was advertised")
        adverts = {name: bytes.fromhex(data) for name, data in fields["adverts"].items()}
        return Dealt(advertised, adverts, _pair(fields["own"]), bytes.fromhex(fields["deal"]))
    session = Session.from_bytes(fields["session"].encode())
    if "held" in fields:
        held = {name: pair and _pair(pair) for name, pair in fields["held"].items()}
        return Masked(session, fields["hospital"], fields["view"], held, fields["sent"])
    secrets = {name: bytes.fromhex(fields[name]) for name in ("sealing", "masking", "seed", "advert")}
    return Advertised(session, fields["hospital"], **secrets)


def _pair(shares: Any) -> Shares:
    first, second = shares
    return bytes.fromhex(first), bytes.fromhex(second)

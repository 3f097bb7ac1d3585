"""A step's checkpoint: a descent between two steps, written down so that a killed round goes on.

    PrivateDescent --state--> StepState --encode--> bytes --decode--> StepState --resumed--> PrivateDescent

Why this costs nothing.  A checkpoint is made after a step's noise is in, so it is post-processing of steps that the
round's reservation paid for.  The step that the process died in was never released in any form: neither its draw, nor
its gradients, nor its noise was written down, and nothing but a sealed round leaves.  The resumed process draws that
step's patients and its noise anew, so what is sealed in the end holds exactly the mechanism's number of steps, each
with one draw of its own and fresh noise, under one reservation.  This takes it that the death did not choose between
draws: what a step takes of memory is bounded whoever is drawn (`client.training.memory`), and an error in a step,
unlike a death of the process, voids the round.

Layout: magic `FPK1`, an Ed25519 signature over all that follows it, then a safetensors file: `now/p`, `first/p` and
`second/p` of each parameter p, and what they are bound to as metadata.  It stays in the hospital's home.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from privacy import canonical, tensors
from privacy.descent import FROM_CHECKPOINT, StepState
from privacy.errors import CheckpointError, MechanismError, SignatureInvalid, WireError
from privacy.keys import SIGNATURE_BYTES, PrivateKey, PublicKey, Purpose
from privacy.ledger.account import Reservation
from privacy.mechanism import Mechanism

MAGIC = b"FPK1"
_PAYLOAD = len(MAGIC) + SIGNATURE_BYTES
_PARTS = ("now", "first", "second")
_FIELDS = {"reservation", "plan", "steps", "noise_std", "mechanism", "secure"}


def encode(state: StepState, reservation: Reservation, key: PrivateKey) -> bytes:
    """The state, bound to the reservation that pays for it and to its plan, under the hospital's key."""
    header = {
        "reservation": reservation.hash,
        "plan": reservation.plan_hash,
        "steps": state.steps,
        "noise_std": state.noise_std,
        "mechanism": state.mechanism.to_dict(),
        "secure": state.secure,
    }
    values = {f"{part}/{name}": value for part in _PARTS for name, value in getattr(state, part).items()}
    arrays = {name: value.cpu().numpy() for name, value in values.items()}
    payload = tensors.serialize(arrays, canonical.encode(header).decode())
    return MAGIC + key.sign(payload, Purpose.CHECKPOINT) + payload


def decode(data: bytes, reservation: Reservation, key: PublicKey) -> StepState:
    """Read `encode`'s bytes.

    | the bytes                                             | give                |
    |-------------------------------------------------------|---------------------|
    | of a step of this very reservation and plan           | its state           |
    | cut short, altered, or signed by another key          | `CheckpointError`   |
    | of another reservation, of the same round too         | `CheckpointError`   |
    | of more steps than were paid for                      | `CheckpointError`   |
    """
    payload = data[_PAYLOAD:]
    if data[: len(MAGIC)] != MAGIC:
        raise CheckpointError("these bytes are no checkpoint")
    try:
        key.verify(data[len(MAGIC) : _PAYLOAD], payload, Purpose.CHECKPOINT)
        arrays, text = tensors.deserialize(payload, len(payload))
        header = canonical.decode(text.encode(), tensors.MAX_HEADER_BYTES)
        return _state(_bound(header, reservation), arrays)
    except (SignatureInvalid, WireError, MechanismError) as error:
        raise CheckpointError(f"the checkpoint is damaged, or not this hospital's: {error}") from error


def _bound(header: Any, reservation: Reservation) -> dict[str, Any]:
    if not isinstance(header, dict) or set(header) != _FIELDS:
        raise CheckpointError("the checkpoint's fields are not a checkpoint's")
    if (header["reservation"], header["plan"]) != (reservation.hash, reservation.plan_hash):
        raise CheckpointError("the checkpoint is of another reservation")
    mechanism = Mechanism.from_dict(header["mechanism"])
    if mechanism.event() != reservation.event or not 1 <= header["steps"] <= mechanism.steps:
        raise CheckpointError("the checkpoint holds other steps than were paid for")
    return {**header, "mechanism": mechanism}


def _state(header: dict[str, Any], arrays: dict[str, Any]) -> StepState:
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    for name, value in arrays.items():
        part, _, parameter = name.partition("/")
        if part not in parts:
            raise CheckpointError(f"the checkpoint holds {name!r}")
        parts[part][parameter] = torch.from_numpy(value)
    return StepState(
        **parts,
        steps=header["steps"],
        noise_std=header["noise_std"],
        mechanism=header["mechanism"],
        secure=header["secure"],
        made_by=FROM_CHECKPOINT,
    )

"""The coordinator's key was rotated: the hospital follows where the key that it trusts says so, and puts it on record."""

from __future__ import annotations

from client.home import Home
from privacy import durable, succession
from privacy.keys import PublicKey
from privacy.ledger.store import Ledger


def follow(home: Home, ledger: Ledger, data: bytes) -> PublicKey:
    """The coordinator's key from now on: the last that the handovers in `data` lead to from the present one.

    Durably in the ledger, then in the home, before any plan of its is taken. Handovers that lead nowhere from the present
    key change nothing: an older key has no say any more. Raises `WireError`, `SignatureInvalid`.
    """
    present, name = home.coordinator, home.kit.consortium
    led_on = succession.from_bytes(data, name, present)
    if not led_on:
        return present
    ledger.succeeded(led_on)
    before = home.successors.read_bytes() if home.successors.exists() else succession.to_bytes(())
    chain = (*succession.from_bytes(before, name, home.pinned), *led_on)
    durable.replace(home.successors, succession.to_bytes(chain))
    return chain[-1].new

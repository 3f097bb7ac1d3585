"""The checkpoints of a round's steps, as files of the hospital's home: 0600 in a folder of 0700; they never leave.

One file a reservation, replaced whole after each step. `privacy.checkpoint` says what is in it, and why going on
from it costs nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from privacy import checkpoint, durable
from privacy.descent import StepState
from privacy.keys import PrivateKey
from privacy.ledger.account import Reservation


class StoppedAfterStep(Exception):  # noqa: N818 - reads as what happened
    """The agent ends, and the round's last step is kept: nothing failed, and the reservation stays open."""


class StepCheckpoints:
    """The checkpoints in `folder`, which is made where there is none; `key` is the hospital's release key."""

    def __init__(self, folder: Path, key: PrivateKey) -> None:
        self._folder, self._key = folder, key
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, reservation: Reservation, state: StepState) -> None:
        """Replace the reservation's checkpoint, durably: whatever instant the process dies at, one of the two stands."""
        durable.replace(self._path(reservation), checkpoint.encode(state, reservation, self._key))

    def read(self, reservation: Reservation) -> StepState | None:
        """Where the reservation's round stands; None before its first step's end. Raises `CheckpointError`."""
        try:
            data = self._path(reservation).read_bytes()
        except FileNotFoundError:
            return None
        return checkpoint.decode(data, reservation, self._key.public)

    def sweep(self, keep: Collection[Reservation] = ()) -> None:
        """Remove all but the checkpoints of these reservations."""
        kept = {self._path(reservation) for reservation in keep}
        for path in self._folder.iterdir():
            if path not in kept:
                path.unlink()

    def _path(self, reservation: Reservation) -> Path:
        return self._folder / f"{reservation.hash}.step"

"""A hospital's place in each campaign's round under distributed trust, as files of its home: 0600 in a folder of 0700.

One file a campaign, replaced whole, durably, before each answer leaves; a later round takes the place of an earlier one,
and a round's receipt removes it. So no older state comes back. A session that is never ended leaves its file; of more
campaigns than `MOST_CAMPAIGNS` the state that has stood still for longest goes. Its round is lost to this hospital then,
and no second masked sum is possible: the ledger knows what was sent.
"""

from __future__ import annotations

import threading
from pathlib import Path

from privacy import durable
from privacy.errors import CheckpointError
from privacy.secagg.hospital_state import Advertised, Agreed, Dealt, State, from_bytes, to_bytes
from privacy.secagg.session import Session

MOST_CAMPAIGNS = 16  # at a time; the coordinator chooses their names, and to advertise costs it nothing
_SUFFIX = ".state"


class SumStates:
    """The states in `folder`, which is made where there is none; what a death left half written in it goes. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()  # a receipt may come while a step is answered
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.suffix != _SUFFIX:
                path.unlink()

    def read(self, campaign: str) -> State | None:
        """Where this hospital stands in the campaign's round; None where it has begun none.

        Raises `CheckpointError` for a damaged file: that round is lost to this hospital.
        """
        try:
            state = from_bytes(self._path(campaign).read_bytes())
        except FileNotFoundError:
            return None
        if session_of(state).campaign != campaign:
            raise CheckpointError(f"{self._path(campaign)}: is another campaign's")
        return state

    def keep(self, state: State) -> None:
        """Replace the campaign's state, durably; the oldest of too many campaigns' goes."""
        mine = self._path(session_of(state).campaign)
        with self._lock:
            durable.replace(mine, to_bytes(state))
            others = [path for path in self._folder.iterdir() if path.suffix == _SUFFIX and path != mine]
            newest = sorted(others, key=lambda path: path.stat().st_mtime_ns, reverse=True)
            for path in newest[MOST_CAMPAIGNS - 1 :]:
                path.unlink()

    def forget(self, campaign: str, number: int) -> None:
        """Remove the state of this very round, or a damaged one; nothing where another round stands there."""
        with self._lock:
            try:
                state = self.read(campaign)
            except CheckpointError:
                state = None
            if state is None or session_of(state).round == number:
                self._path(campaign).unlink(missing_ok=True)

    def _path(self, campaign: str) -> Path:
        return self._folder / f"{campaign}{_SUFFIX}"  # a plain name: privacy.plan.is_campaign


def session_of(state: State) -> Session:
    """The session that a state belongs to."""
    if isinstance(state, Agreed):
        return state.masked.session
    return (state.advertised if isinstance(state, Dealt) else state).session


def advertised(state: State) -> Advertised | None:
    """What was drawn for the session; None once the input was masked."""
    if isinstance(state, Dealt):
        return state.advertised
    return state if isinstance(state, Advertised) else None

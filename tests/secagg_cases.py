"""A round of secure aggregation in one process: real hospitals, a real server, and faults as fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from privacy import canonical
from privacy.keys import PrivateKey, PublicKey
from privacy.randomness import SecureRandom
from privacy.secagg import hospital, server
from privacy.secagg.grid import Grid
from privacy.secagg.hospital_state import Advertised, Agreed, Dealt, Masked, from_bytes, to_bytes
from privacy.secagg.session import Session
from privacy.secagg.shared_noise import Share, add_share, shared_noise
from privacy.secagg.terms import least_threshold

S = TypeVar("S", Advertised, Dealt, Masked, Agreed)

SIZE = 40
STEPS = ("advertise", "deal", "mask", "agree", "reveal")


@lru_cache(maxsize=200)
def key_of(name: str) -> PrivateKey:
    """A release key of this process's hospital of that name."""
    return PrivateKey(Ed25519PrivateKey.generate())


def roll_of(count: int) -> dict[str, PublicKey]:
    return {name: key_of(name).public for name in (f"h{number:03}" for number in range(count))}


def session_of(hospitals: int = 5, **changes: object) -> Session:
    """Terms for that many hospitals with the least threshold; `changes` replace fields."""
    fields: dict[str, object] = {
        "campaign": "spring",
        "round": 7,
        "plan_hash": canonical.digest(b"plan"),
        "roll": roll_of(hospitals),
        "threshold": least_threshold(hospitals, 1),
        "colluding": 1,
        "size": SIZE,
        "bits": 32,
    }
    return Session(**{**fields, **changes})  # type: ignore[arg-type]


def share_of(
    session: Session, honest: int | None = None, seed: int = 0, step: float = 2.0**-6, most_patients: int = 50
) -> Share:
    """A share of some clipped sum."""
    total = np.random.default_rng(seed).normal(size=session.size)
    grid = Grid(step, clip_norm=1.0, size=session.size, most_patients=most_patients)
    return add_share(total, shared_noise(1.0, grid, honest or session.honest), SecureRandom())


@dataclass
class Round:
    """A round, step by step. `lost` says before which answer each of its hospitals vanishes; with `killed` every
    agent is killed after each answer, and goes on from what it wrote to disk.
    """

    session: Session
    lost: Mapping[str, str] = field(default_factory=dict)
    killed: bool = False
    states: dict[str, Advertised | Dealt | Masked | Agreed] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shares = {
            name: share_of(self.session, seed=place) for name, place in self.session.places.items()
        }

    def here(self, step: str) -> list[str]:
        """Who answers this step."""
        return [
            name
            for name in self.session.roll
            if name not in self.lost or STEPS.index(step) < STEPS.index(self.lost[name])
        ]

    def advertised(self) -> server.Adverts:
        state = server.Adverts(self.session)
        for name in self.here("advertise"):
            state = state.add(
                self.keep(*hospital.advertise(self.session, name, key_of(name), self.session.roll, 1))
            )
        return state

    def dealt(self) -> server.Deals:
        before = self.advertised()
        adverts, state = list(before.shown.values()), before.close()
        for name in self.here("deal"):
            state = state.add(self.keep(*hospital.deal(self.at(name, Advertised), adverts, key_of(name))))
        return state

    def masked(self) -> server.Inputs:
        before = self.dealt()
        deals, state = list(before.shown.values()), before.close()
        for name in self.here("mask"):
            answer = hospital.mask(self.at(name, Dealt), deals, self.shares[name], key_of(name))
            state = state.add(self.keep(*answer))
        return state

    def agreed(self) -> server.Statements:
        state = self.masked().close()
        for name in self.here("agree"):
            answer = hospital.agree(self.at(name, Masked), state.survivors, key_of(name))
            state = state.add(self.keep(*answer))
        return state

    def opened(self) -> server.Openings:
        before = self.agreed()
        statements, state = list(before.shown.values()), before.close()
        for name in self.here("reveal"):
            state = state.add(hospital.reveal(self.at(name, Agreed), statements, key_of(name)))
        return state

    def run(self) -> server.Total:
        return self.opened().close()

    def plain(self, names: tuple[str, ...]) -> NDArray[np.int64]:
        """The sum that these hospitals' shares have."""
        return np.sum([self.shares[name].whole for name in names], axis=0)

    def keep(self, state: Advertised | Dealt | Masked | Agreed, answer: bytes) -> bytes:
        self.states[state_owner(state)] = from_bytes(to_bytes(state)) if self.killed else state
        return answer

    def at(self, name: str, kind: type[S]) -> S:
        state = self.states[name]
        assert isinstance(state, kind)
        return state


def state_owner(state: Advertised | Dealt | Masked | Agreed) -> str:
    if isinstance(state, Dealt):
        return state.advertised.hospital
    return state.masked.hospital if isinstance(state, Agreed) else state.hospital
